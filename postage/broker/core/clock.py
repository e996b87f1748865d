"""The clock of the broker: handed in, so that tests can turn it by hand."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from typing import Protocol

__all__ = ["ManualTimers", "Timer", "Timers"]


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
