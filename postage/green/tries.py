"""Time limits and pauses for the retries of a message or call.  Pure: no gevent, no I/O.

Publishing uses a `RetryTimer`: as many tries as fit into one limit, with growing pauses.  A call
uses a `CallBudget`: a number of tries, each of which may wait for its reply, within one bound.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from functools import lru_cache

__all__ = ["MIN_TRY_TIME", "CallBudget", "RetryTimer", "expiration"]

MIN_TRY_TIME = 0.01
"""Seconds that must remain for another try.  A shorter one would send a message and give up before
the broker can answer."""
FIRST_PAUSE = 0.01
"""Seconds of the first pause that is not 0; each further one doubles, up to `MAX_PAUSE`."""
MAX_PAUSE = 1.0
"""Seconds of the longest pause."""
WAKE_UP_GRACE = 0.1
"""Seconds that a call may exceed the sum of its tries.  Each waiting greenlet is woken slightly
late; without this allowance, the last try would be short by the sum of these delays."""
MAX_EXPIRATION = 2**32 - 1
"""Milliseconds of the longest expiration that every broker accepts: 49 days."""


class RetryTimer:
    """A time limit of *limit* seconds from *started*, and the pauses between the tries in it.

    *started* is a reading of *clock*, by default now.
    """

    __slots__ = ("_clock", "_deadline", "_pause", "limit")

    def __init__(
        self,
        limit: float,
        clock: Callable[[], float] = time.monotonic,
        started: float | None = None,
    ) -> None:
        self.limit = limit
        self._deadline = (clock() if started is None else started) + limit
        self._clock, self._pause = clock, 0.0

    @property
    def remaining(self) -> float:
        """Seconds until the limit, 0 after it."""
        return max(0.0, self._deadline - self._clock())

    def next_pause(self) -> float | None:
        """Return the seconds to wait before the next try; None if no time remains for one.

        The first pause is 0, the second `FIRST_PAUSE`; each further one is twice as long.
        """
        pause, self._pause = self._pause, min(MAX_PAUSE, self._pause * 2 or FIRST_PAUSE)
        return pause if self.remaining >= pause + MIN_TRY_TIME else None


class CallBudget(RetryTimer):
    """The tries and the time of a call: at most *tries* of *timeout* seconds, within *bound*.

    Only a request that is sent counts as a try.  Preparations, such as reconnecting, use time but
    no try.
    """

    __slots__ = ("timeout", "total", "tries", "used")

    def __init__(
        self,
        timeout: float,
        tries: int,
        bound: float = math.inf,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.timeout, self.tries, self.used = timeout, tries, 0
        self.total = timeout * tries
        limit = self.total + WAKE_UP_GRACE
        if bound < limit:
            limit, self.total = bound, min(self.total, bound)
        # As `RetryTimer` does it, whose method would cost each call time.
        self.limit, self._clock, self._pause = limit, clock, 0.0
        self._deadline = clock() + limit

    def start_try(self) -> float:
        """Use one try; return the seconds that it may wait for its reply."""
        self.used += 1
        remaining = self._deadline - self._clock()
        return self.timeout if self.timeout < remaining else max(0.0, remaining)

    @property
    def exhausted(self) -> bool:
        """Whether every try has been used."""
        return self.used >= self.tries

    @property
    def expired(self) -> bool:
        """Whether the call must end: no try or no time remains."""
        return self.used >= self.tries or self._clock() >= self._deadline


@lru_cache(maxsize=256)
def expiration(seconds: float) -> str:
    """Return *seconds* as the property ``expiration``, after which the broker drops a message."""
    return str(int(min(seconds * 1000, MAX_EXPIRATION)))
