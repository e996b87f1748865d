"""Who sends the correlation id of a call back, as far as this is known.  Pure."""

from __future__ import annotations

import gevent.event

__all__ = ["RECEIPT", "Destination", "Echoes", "Scouts"]

Destination = tuple[str, str]
"""Exchange and key: who answers there, and how, is learnt by calling."""

MANY = 10_000
"""Destinations that are remembered.  Then the oldest is forgotten, which costs its next call a
reply queue of its own."""


class Echoes:
    """What replies have shown: a destination that left the id out once may do so again."""

    def __init__(self, limit: int = MANY) -> None:
        self._limit = limit
        self._known: dict[Destination, bool] = {}

    def __len__(self) -> int:
        return len(self._known)

    def __contains__(self, destination: Destination) -> bool:
        """Tell whether every reply from *destination* so far had the id of its call."""
        return self._known.get(destination, False)

    def is_known(self, destination: Destination) -> bool:
        """Tell whether there was any reply."""
        return destination in self._known

    def learn(self, destination: Destination, *, echoes: bool) -> None:
        """Take note of a reply."""
        self._known[destination] = echoes and self._known.get(destination, True)
        if len(self._known) > self._limit:
            del self._known[next(iter(self._known))]


RECEIPT = "postage.receipt"
"""The property ``type`` of a request that asks for a receipt, and of the receipt.  That has the id
of the request, and no body."""

PATIENCE = 0.05
"""Seconds that a call waits for the receipt of another one: ten times what it takes."""


class Scouts:
    """Which destinations have a call on its way whose receipt, or reply, others wait for."""

    def __init__(self) -> None:
        self._away: dict[Destination, gevent.event.Event] = {}

    def leave(self, destination: Destination) -> bool:
        """Go ahead, unless another one does; tell whether the caller is the scout."""
        if destination in self._away:
            return False
        self._away[destination] = gevent.event.Event()
        return True

    def wait(self, destination: Destination) -> None:
        """Wait until the scout has come back, at most `PATIENCE` seconds; switches."""
        scout = self._away.get(destination)
        if scout is not None:
            scout.wait(PATIENCE)

    def come_back(self, destination: Destination) -> None:
        """Have the others go on: the scout knows, or has failed.  Never switches."""
        scout = self._away.pop(destination, None)
        if scout is not None:
            scout.set()
