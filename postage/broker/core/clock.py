"""Time for the core of the broker: it is handed in, so that tests can turn it by hand."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from typing import Protocol

__all__ = ["ManualTimers", "Timer", "Timers"]


class Timer(Protocol):
    """A call that is due later."""

    def cancel(self) -> None:
        """Not any more."""


class Timers(Protocol):
    """A clock that can wake one up."""

    def now(self) -> float:
        """Return the seconds since some moment, never going back."""

    def wall(self) -> float:
        """Return the seconds since the epoch."""

    def later(self, seconds: float, call: Callable[[], None]) -> Timer:
        """Have *call* called after *seconds*."""


class _ManualTimer:
    def __init__(self, at: float, call: Callable[[], None]) -> None:
        self.at = at
        self.call: Callable[[], None] | None = call

    def cancel(self) -> None:
        self.call = None  # and what it knows


class ManualTimers:
    """A clock that stands still until somebody turns it with `advance`."""

    def __init__(self, wall: float = 1_700_000_000.0) -> None:
        self._now, self._wall = 0.0, wall
        self._due: list[tuple[float, int, _ManualTimer]] = []
        self._order = itertools.count()

    def now(self) -> float:
        """Return the seconds that it was advanced by."""
        return self._now

    def wall(self) -> float:
        """Return the seconds since the epoch, as far as this clock goes."""
        return self._wall + self._now

    def later(self, seconds: float, call: Callable[[], None]) -> Timer:
        """Have *call* called when the clock has been advanced by *seconds*."""
        due = _ManualTimer(self._now + seconds, call)
        heapq.heappush(self._due, (due.at, next(self._order), due))
        return due

    def advance(self, seconds: float) -> None:
        """Turn the clock by *seconds*, and do what falls due on the way, in order."""
        until = self._now + seconds
        while self._due and self._due[0][0] <= until:
            self._now, _, due = heapq.heappop(self._due)
            if due.call is not None:
                due.call()
        self._now = until
