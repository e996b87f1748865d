"""Exponential backoff with full jitter, for tries to connect.  Pure: no gevent, no I/O."""

from __future__ import annotations

import random
from collections.abc import Callable

__all__ = ["Backoff"]

FIRST = 0.1
"""Seconds that the first pause lasts at most."""
LONGEST = 30.0
"""Seconds that any pause lasts at most."""
GROWTH = 1.2
"""The factor by which the bound of each pause exceeds the one before.

With 1.2, the bound of a pause is on average 0.4 of the outage so far.  With the usual 2, a client
that was disconnected for 10 seconds would wait up to another 13.
"""


class Backoff:
    """Random pauses whose bound grows until `reset`.

    Each pause is drawn evenly between zero and its bound ("full jitter"), so that the thousand
    clients of a broker that restarts do not all connect at once.
    """

    __slots__ = ("_bound", "_draw")

    def __init__(self, draw: Callable[[], float] = random.random) -> None:
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
        """Start again with short pauses, because a connection has lasted."""
        self._bound = FIRST
