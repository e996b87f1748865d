"""A bounded pool that handles each item in a greenlet of its own, as far as anybody can tell.

How it works
------------
`Pool.submit` queues an item and asks the hub for one callback.  That callback starts greenlets, in
the order of arrival, until no item waits or *size* greenlets are running.  A handler that never
waits has ended when its start returns, so a burst of such handlers needs one callback, and has one
greenlet at a time.  If items still wait, the end of a greenlet asks for the next callback.

All that one message leaves in its greenlet would reach the next message there: context variables,
`gevent.local` values, a pending `gevent.Timeout`, links, a kill that has not been delivered yet.
But a greenlet costs as much as all the rest of a small handler: Python maps memory for it, and
unmaps it.  So a greenlet takes the next item of a burst if nothing refers to the greenlet that did
not refer to it before (`_traces`).  What would arrive in it later must refer to it: a timer, a
waiter, a link, a child.  What was left in it is in its dictionary, or in its context, which each
item gets anew.  A handler that keeps its greenlet, to compare it with that of another message,
refers to it as well; and so does this module, as soon as the handler waits for something.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from sys import getrefcount
from typing import Any, Generic, TypeVar
from weakref import getweakrefcount

import gevent
import gevent.event
import gevent.hub

from postage.dispatch import HandlerKilled
from postage.log_records import counted, logger_of, place_of

__all__ = ["HELD", "KILL_LIMIT", "Pool"]

logger = logger_of(__name__)

T = TypeVar("T")

KILL_LIMIT = 0.25
"""Seconds that `Pool.kill` waits for handlers that catch `HandlerKilled` and go on."""
HELD = "postage.held"
"""The key of gevent's ``spawn_tree_locals`` under which the greenlet of an item, and all greenlets
that it spawns, find the owner of the pool and the item."""


class _Worker(gevent.Greenlet):  # type: ignore[type-arg]  # not subscriptable at run time
    """The greenlet of one item, or of several that leave nothing behind."""

    __slots__ = ("item",)

    spawning_stack_limit = 0  # the stack would show only the hub, and costs as much as a handler


def _traces(worker: Any) -> tuple[int, int, int, bool]:
    """Return what changes if anything is left in the greenlet *worker*, or will arrive in it."""
    references, weak_references = getrefcount(worker), getweakrefcount(worker)
    return references, weak_references, len(worker.__dict__), worker.has_links()


class Pool(Generic[T]):
    """Runs ``handle(item)`` in a greenlet for each item, at most *size* at a time.

    *running* gets the greenlets whose items wait for something, in the order of their start.
    """

    __slots__ = (
        "_handle",
        "_hub",
        "_idle",
        "_is_killed",
        "_is_start_due",
        "_name",
        "_owner",
        "_running",
        "_size",
        "_waiting",
        "_workers",
    )

    def __init__(
        self,
        size: int,
        handle: Callable[[T], object],
        name: str = "postage",
        owner: object = None,
        running: dict[Any, None] | None = None,
    ) -> None:
        self._size, self._handle, self._name, self._owner = size, handle, name, owner
        self._hub = gevent.hub.get_hub()
        self._waiting: list[T] = []  # an empty deque would take 600 bytes of each processor
        self._workers: set[Any] = set()
        self._running = {} if running is None else running
        self._is_start_due = self._is_killed = False
        self._idle: gevent.event.Event | None = None  # made by the first `join` that has to wait

    def __repr__(self) -> str:
        return f"<Pool {self._name}: {self.busy} of {self._size} busy, {self.waiting} waiting>"

    def __contains__(self, greenlet: object) -> bool:
        return greenlet in self._workers

    @property
    def busy(self) -> int:
        """How many items are being handled."""
        return len(self._workers)

    @property
    def waiting(self) -> int:
        """How many items wait for a greenlet."""
        return len(self._waiting)

    @property
    def running(self) -> Iterator[T]:
        """The items that are being handled, for use without a switch."""
        return (worker.item for worker in self._workers)

    def submit(self, item: T) -> None:
        """Handle *item* in a greenlet as soon as the pool has room; never switches."""
        self._waiting.append(item)
        if not self._is_start_due:
            self._start_soon()

    def withdraw(self) -> list[T]:
        """Take back the items that still wait, and return them in the order of arrival."""
        items, self._waiting = self._waiting, []
        self._note_end()
        return items

    def join(self, limit: float | None = None) -> bool:
        """Wait at most *limit* seconds until no item waits or runs; return whether that is so.

        Switches.  Also returns as soon as the pool is killed.
        """
        if self._is_running() and not self._is_killed:
            if self._idle is None:
                self._idle = gevent.event.Event()
            self._idle.clear()
            self._idle.wait(limit)
        return not self._is_running()

    def kill(self, limit: float = KILL_LIMIT) -> None:
        """Raise `HandlerKilled` in all greenlets and start no others.

        Switches, and waits at most *limit* seconds for them to end; with 0 it does not switch, and
        the greenlets are killed in the next turn of the hub.
        """
        self._is_killed = True
        if self._idle is not None:
            self._idle.set()
        workers = [*self._workers]
        gevent.killall(workers, HandlerKilled, block=False)
        if limit:
            gevent.joinall(workers, timeout=limit)

    def _is_running(self) -> bool:
        return bool(self._workers or self._waiting)

    # --- starting and ending greenlets

    def _start_soon(self) -> None:
        self._is_start_due = True
        self._hub.loop.run_callback(self._start)

    def _start(self) -> None:
        """Start a greenlet for each item that waits, as far as there is room; in the hub."""
        while self._waiting and len(self._workers) < self._size and not self._is_killed:
            worker = _Worker(self._run)
            self._workers.add(worker)
            worker.switch()  # returns when a handler waits for something, or the worker has ended
            if worker in self._workers:
                self._running[worker] = None
        self._is_start_due = False
        if self._idle is not None and not self._is_running():
            self._idle.set()

    def _run(self) -> None:
        """Handle an item, and more of them while the greenlet is as good as new."""
        worker: Any = gevent.getcurrent()
        unused = _traces(worker)
        try:
            while self._waiting and not self._is_killed:
                worker.item = item = self._waiting.pop(0)
                # Otherwise gevent shares those of the hub.
                worker.spawn_tree_locals = {HELD: (self._owner, item)}
                worker.gr_context = None
                self._handle(item)
                if _traces(worker) != unused:
                    break
        except HandlerKilled:
            pass
        except Exception as exc:  # a defect of ours: *handle* catches those of handlers
            logger.exception("A greenlet of %r failed.", self, extra=counted(*place_of(exc)))
        finally:
            self._workers.discard(worker)
            self._running.pop(worker, None)
            if not self._is_start_due:
                self._note_end()

    def _note_end(self) -> None:
        if self._waiting:
            self._start_soon()
        elif self._idle is not None and not self._workers:
            self._idle.set()
