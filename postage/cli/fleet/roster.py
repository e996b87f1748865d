"""The roster: who answers to somebody who asks again and again, and who does no more.  Pure."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from postage.cli.fleet.descriptions import Description, Identity, figure, identified, rate

__all__ = ["Entry", "Roster"]

KEPT = 15.0
"""Seconds that who has gone is still shown."""


@dataclass(frozen=True)
class Entry:
    """One application, by its last answer."""

    description: Description
    """With the ``rate`` of messages between its last two answers, or None."""
    gone_since: float | None = None
    """When it did not answer for the first time."""

    @property
    def rate(self) -> float:
        """Messages per second, 0 where that is not known."""
        return figure(self.description, "rate") or 0.0


class Roster:
    """The applications that have answered of late."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._entries: dict[Identity, Entry] = {}

    def note(self, found: Iterable[Description]) -> None:
        """Take in those who have answered this time; whoever else was there has gone."""
        before, now = self._entries, self._clock()
        self._entries = {
            identity: Entry({**each, "rate": rate(self._last(identity), each)})
            for identity, each in identified(found)
        }
        for identity in before.keys() - self._entries.keys():
            entry = before[identity]
            since = now if entry.gone_since is None else entry.gone_since
            if now - since < KEPT:
                self._entries[identity] = Entry({**entry.description, "rate": None}, since)

    def _last(self, identity: Identity) -> Description:
        entry = self._entries.get(identity)
        return {} if entry is None else entry.description

    @property
    def present(self) -> list[Entry]:
        """Those who answer, the busiest first."""
        return self._sorted(gone=False)

    @property
    def gone(self) -> list[Entry]:
        """Those who answered a moment ago, and do so no more."""
        return self._sorted(gone=True)

    def _sorted(self, *, gone: bool) -> list[Entry]:
        by_name = [self._entries[identity] for identity in sorted(self._entries)]
        found = [each for each in by_name if (each.gone_since is not None) is gone]
        return sorted(found, key=lambda each: round(each.rate, 1), reverse=True)
