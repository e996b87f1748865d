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


class Patience:
    """At most *tries* tries of *timeout* seconds each, all of them within *bound* from now."""

    __slots__ = ("_clock", "_until", "timeout", "tries", "used")

    def __init__(
        self,
        timeout: float,
        tries: int,
        bound: float = math.inf,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.timeout, self.tries, self.used = timeout, tries, 0
        self._clock = clock
        self._until = clock() + min(timeout * tries + LATE, bound)

    @property
    def left(self) -> float:
        """Seconds until the end of it all, 0 after it."""
        return max(0.0, self._until - self._clock())

    @property
    def window(self) -> float:
        """Seconds that a try which begins now may wait."""
        return min(self.timeout, self.left)

    @property
    def is_spent(self) -> bool:
        """Whether every try was used."""
        return self.used >= self.tries

    @property
    def is_over(self) -> bool:
        """Whether there is no further try, or no time for one."""
        return self.used >= self.tries or self._clock() >= self._until


def expiration(seconds: float) -> str:
    """Return *seconds* as the property of a message that nobody awaits after them."""
    return str(int(min(seconds * 1000, LONGEST)))
