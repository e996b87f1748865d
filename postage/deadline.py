"""Deadlines: how long the caller of the running handler still waits.

The property ``expiration`` of a request is the time that its caller waits, in milliseconds.  It is
a duration and not a time of day, because the clocks of two machines differ.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextvars import ContextVar
from functools import lru_cache

__all__ = ["Deadline", "begin", "current", "end", "remaining"]

_current: ContextVar[Deadline | None] = ContextVar("postage_deadline", default=None)


class Deadline:
    """A moment on this process's monotonic clock.  Never switches greenlets.

    Between `begin` and `end` this is the current deadline, and calls that are made there end by
    then.  A greenlet that is spawned there has no deadline, because gevent gives each greenlet a
    context of its own.  To pass the deadline on, spawn ``contextvars.copy_context().run``.
    """

    __slots__ = ("_clock", "_until")

    def __init__(self, until: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._until, self._clock = until, clock

    @classmethod
    def of(
        cls, expiration: str, received: float, clock: Callable[[], float] = time.monotonic
    ) -> Deadline:
        """Return the deadline of a message that was *received* at that moment of *clock*.

        An *expiration* that is no number of milliseconds gives a deadline that never passes.
        """
        return cls(received + _seconds(expiration), clock)

    def __repr__(self) -> str:
        return f"<Deadline in {self.remaining():.3g} s>"

    def remaining(self) -> float:
        """Return the seconds until the deadline: 0.0 once it has passed, infinity when cleared."""
        return max(0.0, self._until - self._clock())

    @property
    def expired(self) -> bool:
        """True once the caller has stopped waiting."""
        return self._until <= self._clock()

    def clear(self) -> None:
        """Remove the limit, because the caller has its reply and waits for nothing else."""
        self._until = math.inf


@lru_cache(maxsize=256)  # all calls of a producer have the same
def _seconds(expiration: str) -> float:
    is_number = expiration.isascii() and expiration.isdecimal()
    return int(expiration) / 1000 if is_number else math.inf


# Methods of the context variable itself: functions around them would cost each call time.
current = _current.get
"""Return the deadline of the request that this greenlet handles, or None."""
begin = _current.set
"""Let a deadline, or None, be the current one; return what `end` takes."""
end = _current.reset
"""Let that deadline be the current one again which was so before `begin`."""


def remaining() -> float:
    """Return how many seconds the caller of the running handler still waits.

    Infinity if there is no such caller: outside a handler, for a message, or after the reply.
    """
    deadline = _current.get()
    return math.inf if deadline is None else deadline.remaining()
