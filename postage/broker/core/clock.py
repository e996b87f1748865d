"""The clock of the broker: handed in, so that tests can turn it by hand."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from typing import Protocol

__all__ = ["ManualTimers", "Timer", "Timers", "TurnableTimers"]


class Timer(Protocol):
    """A call that is due later."""

    def cancel(self) -> None:
        """Do not make the call; may be called twice, and after the call."""


class Timers(Protocol):
    """A clock with timers."""

    def now(self) -> float:
        """Return seconds that never go back."""

    def wall(self) -> float:
        """Return the seconds since the epoch."""

    def later(self, seconds: float, call: Callable[[], None]) -> Timer:
        """Make *call* in *seconds*."""


class _ManualTimer:
    def __init__(self, at: float, call: Callable[[], None]) -> None:
        self.at = at
        self.call: Callable[[], None] | None = call

    def cancel(self) -> None:
        self.call = None  # which also releases what the call refers to


class ManualTimers:
    """A clock that stands still until `advance` turns it."""

    def __init__(self, wall: float = 1_700_000_000.0) -> None:
        self._now, self._wall = 0.0, wall
        self._due: list[tuple[float, int, _ManualTimer]] = []
        self._order = itertools.count()

    def now(self) -> float:
        """Return the seconds that the clock was advanced by."""
        return self._now

    def wall(self) -> float:
        """Return the seconds since the epoch, starting at *wall*."""
        return self._wall + self._now

    def later(self, seconds: float, call: Callable[[], None]) -> Timer:
        """Make *call* when the clock has been advanced by *seconds*."""
        timer = _ManualTimer(self._now + seconds, call)
        heapq.heappush(self._due, (timer.at, next(self._order), timer))
        return timer

    def advance(self, seconds: float) -> None:
        """Turn the clock by *seconds*, and make the calls that are due on the way, in order."""
        until = self._now + seconds
        while self._due and self._due[0][0] <= until:
            self._now, _, timer = heapq.heappop(self._due)
            if timer.call is not None:
                timer.call()
        self._now = until


class _TurnableTimer:
    __slots__ = ("at", "call", "clock", "number", "real")

    def __init__(
        self, clock: TurnableTimers, at: float, number: int, call: Callable[[], None]
    ) -> None:
        self.clock, self.at, self.number = clock, at, number
        self.call: Callable[[], None] | None = call
        self.real: Timer | None = None

    def cancel(self) -> None:
        if self.call is not None:
            self.call = None
            del self.clock.pending[self.number]
            self._stop()

    def start(self) -> None:
        """Wait in real time, from now on."""
        self._stop()
        self.real = self.clock.real.later(max(0.0, self.at - self.clock.now()), self.fire)

    def _stop(self) -> None:
        if self.real is not None:
            self.real.cancel()
            self.real = None

    def fire(self) -> None:
        call = self.call
        self.cancel()
        if call is not None:
            call()


class TurnableTimers:
    """A clock that goes like *real*, and that `advance` turns ahead of it."""

    def __init__(self, real: Timers) -> None:
        self.real = real
        self.now = real.now  # replaced by the first `advance`: the broker asks with each message
        self.wall = real.wall
        self.pending: dict[int, _TurnableTimer] = {}
        """The timers that are not due yet, in the order in which they were started."""
        self._numbers = itertools.count(1)
        self._ahead = 0.0
        self._still: float | None = None
        """The time while the clock is turned."""
        self._due: list[tuple[float, int]] = []

    def _now(self) -> float:
        return self.real.now() + self._ahead if self._still is None else self._still

    def _wall(self) -> float:
        return self.real.wall() + self._now() - self.real.now()

    def later(self, seconds: float, call: Callable[[], None]) -> Timer:
        """Make *call* in *seconds*, or when the clock has been turned by so much."""
        number, at = next(self._numbers), self.now() + seconds
        timer = self.pending[number] = _TurnableTimer(self, at, number, call)
        if self._still is None:
            timer.start()
        else:
            heapq.heappush(self._due, (at, number))
        return timer

    def advance(self, seconds: float) -> None:
        """Turn the clock by *seconds*, and make the calls that are due on the way, in order.

        A call finds the clock at the time for which it was due.
        """
        began = self.now()
        until = began + seconds
        self.now, self.wall, self._still = self._now, self._wall, began
        self._due = [(timer.at, number) for number, timer in self.pending.items()]
        heapq.heapify(self._due)
        try:
            while self._due and self._due[0][0] <= until:
                at, number = heapq.heappop(self._due)
                if number in self.pending:
                    self._still = max(began, at)
                    self.pending[number].fire()
        finally:
            self._ahead, self._still, self._due = until - self.real.now(), None, []
            for timer in self.pending.values():
                timer.start()
