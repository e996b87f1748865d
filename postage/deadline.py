"""Deadlines: how long the caller of the running handler still waits.

The property ``expiration`` of a request is the time that its caller waits, in milliseconds.  It is
a duration and not a time of day, because the clocks of two machines differ.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextvars import ContextVar, Token
from functools import lru_cache

__all__ = ["Deadline", "current", "remaining"]

_current: ContextVar[Deadline | None] = ContextVar("postage_deadline", default=None)


class Deadline:
    """A moment on this process's monotonic clock.  Never switches greenlets.

    Inside ``with deadline:`` this is the current deadline, and calls that are made there end by
    then.  A greenlet that is spawned there has no deadline, because gevent gives each greenlet a
    context of its own.  To pass the deadline on, spawn ``contextvars.copy_context().run``.
    """

    __slots__ = ("_clock", "_token", "_until")

    def __init__(self, until: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._until, self._clock = until, clock
        self._token: Token[Deadline | None] | None = None

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

    def __enter__(self) -> Deadline:  # noqa: PYI034 - Self needs Python 3.11
        self._token = _current.set(self)
        return self

    def __exit__(self, *_: object) -> None:
        if self._token is not None:
            _current.reset(self._token)


@lru_cache(maxsize=256)  # all calls of a producer have the same
def _seconds(expiration: str) -> float:
    is_number = expiration.isascii() and expiration.isdecimal()
    return int(expiration) / 1000 if is_number else math.inf


current = _current.get
"""Return the deadline of the request that this greenlet handles, or None.

This is the method of the context variable itself, because a function around it would cost every
call of a producer time."""


def remaining() -> float:
    """Return how many seconds the caller of the running handler still waits.

    Infinity if there is no such caller: outside a handler, for a message, or after the reply.
    """
    deadline = _current.get()
    return math.inf if deadline is None else deadline.remaining()
