"""The tries to send one message or call: until when, and after which pauses.  Pure."""

from __future__ import annotations

import time
from collections.abc import Callable

__all__ = ["Tries"]

LEAST = 0.01
"""Seconds that a try must have at least: with less, it would send what it cannot see arrive."""
FIRST, LONGEST = 0.01, 1.0
"""Seconds of the first pause and of any pause at most.  There is none before the second try."""


class Tries:
    """As many as fit into *limit* seconds from *begun*, whatever each of them waits for.

    *begun* is a moment of *clock*, by default now.
    """

    __slots__ = ("_clock", "_deadline", "_pause", "limit")

    def __init__(
        self,
        limit: float,
        clock: Callable[[], float] = time.monotonic,
        begun: float | None = None,
    ) -> None:
        self.limit = limit
        self._deadline = (clock() if begun is None else begun) + limit
        self._clock, self._pause = clock, 0.0

    @property
    def left(self) -> float:
        """Seconds until the limit, 0 after it."""
        return max(0.0, self._deadline - self._clock())

    def pause(self) -> float | None:
        """Return the seconds before the next try, or None where there is no time for another."""
        pause, self._pause = self._pause, min(LONGEST, self._pause * 2 or FIRST)
        return pause if self.left >= pause + LEAST else None
