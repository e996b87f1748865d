"""How long to pause between tries to connect: exponential, with full jitter.  Pure."""

from __future__ import annotations

import os
from collections.abc import Callable

__all__ = ["Backoff"]

FIRST = 0.1
"""Seconds that the first pause lasts at most."""
LONGEST = 30.0
"""Seconds that any pause lasts at most."""
GROWTH = 1.2
"""The sum of all pauses so far bounds the next one: with this growth it is, on average, at most
0.4 of the outage.  With the usual 2 whoever was away for 10 seconds would wait up to 13 more."""


def evenly() -> float:
    """Return a number from 0 to 1, each as likely; the module `random` would take 0.2 MB."""
    return int.from_bytes(os.urandom(4), "big") / (1 << 32)


class Backoff:
    """Pauses that grow while nothing succeeds.

    Each is drawn evenly from zero to its bound ("full jitter"), so that the thousand clients of a
    broker that comes back do not knock all at once.
    """

    __slots__ = ("_bound", "_draw")

    def __init__(self, draw: Callable[[], float] = evenly) -> None:
        self._draw = draw
        self._bound = FIRST

    @property
    def bound(self) -> float:
        """Seconds that the next pause lasts at most."""
        return self._bound

    def pause(self) -> float:
        """Return the seconds to pause now; the next pause may be longer."""
        pause = self._draw() * self._bound
        self._bound = min(LONGEST, self._bound * GROWTH)
        return pause

    def reset(self) -> None:
        """Begin again with short pauses: what was tried has lasted."""
        self._bound = FIRST
