"""How long a call waits, and how often it is sent.  Pure."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

__all__ = ["Patience", "expiration"]

LATE = 0.1
"""Seconds that all tries together may end late, before the last one gets less than its time: who
waits is woken a little after it."""
LONGEST = 2**32 - 1
"""Milliseconds that every broker takes as an expiration: 49 days."""
FIRST, LONGEST_PAUSE = 0.01, 0.5
"""Seconds of the first pause and of any pause at most, while the request cannot be sent."""


class Patience:
    """At most *tries* tries of *timeout* seconds each, all of them within *bound* from now."""

    __slots__ = ("_clock", "_pause", "_until", "timeout", "total", "tries", "used")

    def __init__(
        self,
        timeout: float,
        tries: int,
        bound: float = math.inf,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.timeout, self.tries, self.used = timeout, tries, 0
        self._clock, self._pause = clock, 0.0
        self.total = min(timeout * tries, bound)
        self._until = clock() + min(timeout * tries + LATE, bound)

    @property
    def left(self) -> float:
        """Seconds until the end of it all, 0 after it."""
        return max(0.0, self._until - self._clock())

    def begin(self) -> float:
        """Use a try; return the seconds that it may wait from now."""
        self.used += 1
        left = self._until - self._clock()
        return self.timeout if left >= self.timeout else max(0.0, left)

    @property
    def is_spent(self) -> bool:
        """Whether every try was used."""
        return self.used >= self.tries

    @property
    def is_over(self) -> bool:
        """Whether there is no further try, or no time for one."""
        return self.used >= self.tries or self._clock() >= self._until

    def pause(self) -> float:
        """Return how long to wait before having ready again what failed: at first not at all."""
        pause, self._pause = self._pause, min(LONGEST_PAUSE, self._pause * 2 or FIRST)
        return min(pause, self.left)


def expiration(seconds: float) -> str:
    """Return *seconds* as the property of a message that nobody awaits after them."""
    return str(int(min(seconds * 1000, LONGEST)))
