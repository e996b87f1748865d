"""How long a call waits, and how often it is sent.  Pure."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from functools import lru_cache

from postage.green.tries import Tries

__all__ = ["Patience", "expiration"]

LATE = 0.1
"""Seconds that all tries together may end late, before the last one gets less than its time: who
waits is woken a little after it."""
LONGEST = 2**32 - 1
"""Milliseconds that every broker takes as an expiration: 49 days."""


class Patience(Tries):
    """At most *tries* tries of *timeout* seconds each, all of them within *bound* from now.

    Only what is sent is a try; the pauses are for what keeps it from being sent.
    """

    __slots__ = ("timeout", "total", "tries", "used")

    def __init__(
        self,
        timeout: float,
        tries: int,
        bound: float = math.inf,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        total = timeout * tries
        super().__init__(min(total + LATE, bound), clock)
        self.timeout, self.tries, self.used = timeout, tries, 0
        self.total = min(total, bound)

    def begin(self) -> float:
        """Use a try; return the seconds that it may wait from now."""
        self.used += 1
        return min(self.timeout, self.left)

    @property
    def is_spent(self) -> bool:
        """Whether every try was used."""
        return self.used >= self.tries

    @property
    def is_over(self) -> bool:
        """Whether there is no further try, or no time for one."""
        return self.used >= self.tries or self._clock() >= self._deadline


@lru_cache(maxsize=256)
def expiration(seconds: float) -> str:
    """Return *seconds* as the property of a message that nobody awaits after them."""
    return str(int(min(seconds * 1000, LONGEST)))
