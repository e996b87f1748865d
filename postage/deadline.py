"""Until when the request that is being handled matters: its caller waits no longer.

A request tells it by its ``expiration``, the milliseconds that its caller waits for it.  Not by a
moment of the clock on the wall: those of two machines differ.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextvars import ContextVar, Token

__all__ = ["Deadline", "current", "left"]

_current: ContextVar[Deadline | None] = ContextVar("postage_deadline", default=None)


class Deadline:
    """A moment on this process's monotonic clock.  Never switches.

    ``with deadline:`` makes it the current one of the greenlet, and calls made meanwhile end by
    then.  A greenlet spawned there has no deadline, for gevent gives it a context of its own,
    unless it is spawned with ``contextvars.copy_context().run``.
    """

    __slots__ = ("_clock", "_token", "_until")

    def __init__(self, until: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._until, self._clock = until, clock
        self._token: Token[Deadline | None] | None = None

    @classmethod
    def of(
        cls, expiration: str, received: float, clock: Callable[[], float] = time.monotonic
    ) -> Deadline:
        """Return that of a message *received* at a moment of *clock*.

        An *expiration* that is no number of milliseconds never comes.
        """
        is_number = expiration.isascii() and expiration.isdecimal()
        return cls(received + int(expiration) / 1000 if is_number else math.inf, clock)

    def __repr__(self) -> str:
        return f"<Deadline in {self.left():.3g} s>"

    def left(self) -> float:
        """Return the seconds until it, 0.0 after it, infinity when it was lifted."""
        return max(0.0, self._until - self._clock())

    @property
    def is_over(self) -> bool:
        """Whether nobody waits any more."""
        return self._until <= self._clock()

    def lift(self) -> None:
        """Bound nothing any more: the caller has its answer, and what is done now is our own."""
        self._until = math.inf

    def __enter__(self) -> Deadline:  # noqa: PYI034 - Self needs Python 3.11
        self._token = _current.set(self)
        return self

    def __exit__(self, *_: object) -> None:
        if self._token is not None:
            _current.reset(self._token)


def current() -> Deadline | None:
    """Return the deadline of the request that this greenlet handles, or None."""
    return _current.get()


def left() -> float:
    """Return the seconds that the caller of the running handler still waits; else infinity."""
    deadline = _current.get()
    return math.inf if deadline is None else deadline.left()
