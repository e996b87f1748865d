"""What greenlets wait on: cheaper than gevent's classes, or with an order that these lack.

* `Wakeup`: one greenlet waits for a flag.
* `Answer`: one greenlet waits for a value or an error, such as the broker's answer to a declare.
* `WaitQueue`: many greenlets wait for room, first come, first served.
* `Gate`: a few greenlets at a time do something; one that takes long does not hold up the others.
* `SharedResource`: many greenlets use an object that one of them makes, such as a channel.
* `Callbacks`: functions to call when something happens; no greenlet waits.
* `after_looks` and `answer_within`: limits that a late hub does not mistake for a silent broker.
"""

from __future__ import annotations

import itertools
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Generic, Protocol, TypeVar

import gevent
from gevent.event import AsyncResult
from gevent.hub import Waiter, get_hub
from gevent.lock import Semaphore

from postage.errors import OperationTimeout

# fmt: off
__all__ = [
    "Answer", "Callbacks", "Closable", "Gate", "Place", "SharedResource", "WaitQueue", "Wakeup",
    "after_looks", "answer_within",
]
# fmt: on

WOKEN_AT_ONCE = 100
"""Greenlets that a `WaitQueue` wakes at a time.  All that they write in one turn of the hub is sent
together."""

PATIENCE = 1.0
"""Seconds after which a place in a `Gate` is overdue, if no other is."""
MOST_OVERDUE = 512
"""Overdue places of a `Gate`.  Each usually occupies a channel; RabbitMQ allows 2,047 of them."""

LOOKS = 4
"""Into how many parts `after_looks` divides a time."""

T = TypeVar("T")


class Wakeup:
    """A flag for which one greenlet waits; it stays set until `clear`.

    A ``gevent.event.Event`` for a single waiter, at a third of the price: waiting for an event with
    a limit took 4 us of the 60 us of a call.
    """

    __slots__ = ("_wake", "is_set")

    def __init__(self) -> None:
        self.is_set = False
        """Whether `wait` would return at once."""
        self._wake: Callable[[None], object] | None = None

    def set(self) -> None:
        """Set the flag; the waiting greenlet wakes in the next turn of the hub.  Never switches."""
        self.is_set = True
        if self._wake is not None:
            get_hub().loop.run_callback(self._wake, None)

    def clear(self) -> None:
        """Clear the flag."""
        self.is_set = False

    def wait(self, seconds: float) -> None:
        """Wait until the flag is set, at most *seconds*; switches unless it is set already."""
        if self.is_set:
            return
        hub = get_hub()
        waiter: Waiter[None] = Waiter(hub)  # a wake-up after the wait has no effect
        self._wake = wake = waiter.switch
        timer = hub.loop.timer(seconds)
        timer.start(wake, None, update=True)  # the clock of the hub may be behind
        try:
            waiter.get()
        finally:
            self._wake = None
            timer.close()

    @contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        """End the block after *seconds*, or when the flag is set, if that is sooner.

        An exception interrupts the greenlet where it waits, and this method catches it at the end
        of the block.  Timeouts of the caller pass through.
        """
        over = gevent.Timeout.start_new(0 if self.is_set else seconds)
        greenlet: Any = gevent.getcurrent()

        def end(_: None) -> None:
            if self._wake is end:  # the greenlet is still in the block
                self._wake = None
                greenlet.throw(over)  # in the hub, as gevent.Timeout itself does

        self._wake = end
        try:
            yield
        except gevent.Timeout as exc:
            if exc is not over:
                raise
        finally:
            self._wake = None
            over.close()


class Answer(Wakeup, Generic[T]):
    """A value or an error, whichever comes first, for which one greenlet waits.

    Half the price of a ``gevent.event.AsyncResult``, for which many greenlets may wait: that one
    and its timeout took an eighth of the time of a confirmed publish.
    """

    __slots__ = ("_error", "_value")

    def __init__(self) -> None:
        super().__init__()
        self._value: T | None = None
        self._error: BaseException | None = None

    @property
    def has_value(self) -> bool:
        """Whether there is a value, and no error."""
        return self.is_set and self._error is None

    def set_result(self, value: T) -> None:
        """Let `get` return *value*; never switches."""
        if not self.is_set:
            self._value = value
            self.set()

    def set_exception(self, error: BaseException) -> None:
        """Let `get` raise *error*; never switches."""
        if not self.is_set:
            self._error = error
            self.set()

    def get(self, operation: str, limit: float) -> T:
        """Return the value, or raise the error; switches greenlets.

        Raises `OperationTimeout`, which names *operation*, after *limit* seconds.  A
        ``gevent.Timeout`` or a kill from outside passes through.
        """
        self.wait(limit)
        if not self.is_set:
            raise OperationTimeout(operation, limit)
        if self._error is not None:
            raise self._error
        return self._value  # type: ignore[return-value]  # set, and so a T


class WaitQueue:
    """Greenlets that wait until *has_room* returns True, first come, first served.

    An event would wake all of them, perhaps ten thousand, each time that there is room for a few.
    This queue wakes a few at a time, and those that find no room left keep their places.
    """

    def __init__(self, has_room: Callable[[], bool]) -> None:
        self._has_room = has_room
        self.waiting: OrderedDict[Wakeup, None] = OrderedDict()
        """The wakeups of those that wait, in the order in which they came."""
        self._woken = 0  # greenlets that were woken and have not checked for room yet
        self._failure: Callable[[], Exception] | None = None  # the last one

    def __len__(self) -> int:
        return len(self.waiting)

    def wake(self) -> None:
        """Wake the first greenlets, if there is room; never switches.

        Call it whenever there may be room.
        """
        if self._woken or not self.waiting or not self._has_room():
            return
        self._woken = min(WOKEN_AT_ONCE, len(self.waiting))
        for wakeup in itertools.islice(self.waiting, self._woken):
            wakeup.set()

    def wait(self, limit: float) -> bool:
        """Wait until there is room; return False if there is none within *limit* seconds.

        Switches unless there is room at once.  The room is the caller's until it switches again.
        Raises the error of `fail`.
        """
        if self._has_room():
            return True
        wakeup, deadline, before = Wakeup(), time.monotonic() + limit, self._failure
        self.waiting[wakeup] = None
        try:
            while True:
                wakeup.wait(max(0.0, deadline - time.monotonic()))
                if self._failure is not None and self._failure is not before:
                    raise self._failure()
                if not wakeup.is_set or self._has_room():
                    return wakeup.is_set
                wakeup.clear()
                self._count_check()
        finally:
            del self.waiting[wakeup]
            if wakeup.is_set:  # also if this greenlet was killed after it was woken
                self._count_check()

    def fail(self, error: Callable[[], Exception]) -> None:
        """Let each that waits now raise an error, which *error* makes; never switches."""
        self._failure, self._woken = error, len(self.waiting)
        for wakeup in self.waiting:
            wakeup.set()

    def _count_check(self) -> None:
        """Note that a woken greenlet has checked; when the last one has, wake the next ones."""
        self._woken -= 1
        if not self._woken:
            get_hub().loop.run_callback(self.wake)


class Gate:
    """Lets *size* greenlets at a time pass, first come, first served.

    A greenlet that has held its place for `PATIENCE` is overdue: it keeps on, but another one
    passes in its stead.  So operations that the broker does not answer delay the others by a
    second, and not by the limit of each.  The more places are overdue, the sooner the next ones
    are: behind 500 operations without an answer, a healthy one waits less than 4 seconds.
    """

    def __init__(self, size: int) -> None:
        self._size, self._room = size, Semaphore(size)
        self.overdue = 0
        """How many greenlets hold a place that no longer counts."""

    @property
    def patience(self) -> float:
        """Seconds after which a place that is taken now becomes overdue."""
        return PATIENCE / (1 + self.overdue / self._size)

    def acquire(self) -> Place:
        """Wait for a place and return it; switches unless there is room."""
        self._room.acquire()
        return Place(self)

    def give_back(self, place: Place, *, is_overdue: bool) -> None:
        """Let another greenlet pass; *is_overdue*: although that of *place* goes on."""
        if place.is_overdue:
            self.overdue -= 1
            return
        if is_overdue:
            self.overdue += 1
        self._room.release()


class Place:
    """A place in a `Gate`; leaving the block as a context manager releases it."""

    __slots__ = ("_gate", "_timer", "is_overdue")

    def __init__(self, gate: Gate) -> None:
        self.is_overdue = False
        """Whether it no longer counts."""
        self._gate = gate
        self._timer = after_looks(gate.patience, self._expire)

    def __enter__(self) -> None:
        pass

    def __exit__(self, *exc_info: object) -> None:
        self.release()

    def _expire(self) -> None:
        if self._gate.overdue < MOST_OVERDUE:
            self._gate.give_back(self, is_overdue=True)
            self.is_overdue = True
        else:
            self._timer = after_looks(self._gate.patience, self._expire)

    def release(self) -> None:
        """Let another greenlet pass; never switches, and may be called once."""
        if not self.is_overdue:
            self._timer.close()
        self._gate.give_back(self, is_overdue=False)


class Closable(Protocol):
    """Anything that can end while others use it."""

    @property
    def alive(self) -> bool:
        """Whether it can still be used."""


C = TypeVar("C", bound=Closable)


class SharedResource(Generic[C]):
    """An object that is made at its first use, and made again when the last one has ended.

    When many greenlets want it at once, one of them makes it.  The others wait for the outcome and
    share it, even if it is an error: if each tried in turn, the last greenlet would wait for all
    the tries before its own.
    """

    def __init__(self, make: Callable[[], C]) -> None:
        self._make = make
        self._value: C | None = None
        self._attempt: AsyncResult[C | None] | None = None

    @property
    def current(self) -> C | None:
        """The object if it exists and is alive, else None."""
        return self._value if self._value is not None and self._value.alive else None

    def invalidate(self) -> None:
        """Let the next `get` make a new object although this one is alive; never switches."""
        self._value = None

    def get(self) -> C:
        """Return the object; if it must be made, switches, and raises the error of making it."""
        while True:
            value = self._value
            if value is not None and value.alive:
                return value
            if self._attempt is None:
                return self._create()
            # Returns when the other greenlet has made it, or was killed; then this one tries.
            self._attempt.get()

    def _create(self) -> C:
        attempt = self._attempt = AsyncResult()
        try:
            self._value = self._make()
        except Exception as exc:
            attempt.set_exception(exc)
            raise
        else:
            return self._value
        finally:
            self._attempt = None
            if not attempt.ready():
                attempt.set(None)


F = TypeVar("F")


class Callbacks(dict[F, None]):
    """Functions to call, each once, in the order in which they were added.

    A dict, because removing from a list would be slow with the functions of thousands of consumers.
    Iterate over a copy where a function may remove itself.
    """

    def append(self, function: F) -> None:
        """Add *function*."""
        self[function] = None

    def remove(self, function: F) -> None:
        """Remove *function*; raises `KeyError` if it was not added."""
        del self[function]


def after_looks(seconds: float, callback: Callable[[], object]) -> Any:
    """Call *callback* in the hub after *seconds*; return the timer, which may be closed before.

    A hub that has computed for so long finds that the time is over before it reads what has arrived
    meanwhile.  So the timer fires `LOOKS` times, once for each part of the time.  However late the
    hub is, libev fires the timer at most twice for that, and reads the sockets in between.  Never
    switches.
    """
    timer = get_hub().loop.timer(seconds / LOOKS, seconds / LOOKS, ref=False)
    looks = itertools.count(1)

    def look() -> None:
        if next(looks) == LOOKS:
            timer.close()
            callback()

    timer.start(look, update=True)  # the clock of the hub may be behind
    return timer


@contextmanager
def answer_within(seconds: float | None, error: BaseException) -> Iterator[None]:
    """Raise *error* in the block, where it waits, after *seconds*; None: never.

    Unlike ``gevent.Timeout``, it gives a late hub the time to read: see `after_looks`.
    """
    if seconds is None:
        yield
        return
    timer = after_looks(seconds, partial(gevent.getcurrent().throw, error))
    try:
        yield
    finally:
        timer.close()
