"""Who sends the correlation id of a call back, as far as this is known.  Pure."""

from __future__ import annotations

__all__ = ["Destination", "Echoes"]

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
