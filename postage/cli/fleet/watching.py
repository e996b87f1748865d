"""Watching the fleet: asking again and again, whatever becomes of the broker."""

from __future__ import annotations

import time

import gevent
import gevent.event

from postage import green
from postage.cli.fleet.query import present
from postage.cli.fleet.roster import Roster
from postage.errors import PostageError

__all__ = ["Watch"]

WAIT = 1.0
"""Seconds that applications get to answer, as those of ``postage ps``."""


class Watch:
    """What is known of the applications behind *key*, asked every *interval* seconds."""

    def __init__(self, key: str, interval: float) -> None:
        self.key, self.interval = key, interval
        self.roster = Roster()
        self.as_of = ""
        """The time of day of the last answers; empty before."""
        self.news = gevent.event.Event()
        """Set when there is something new to be seen."""
        self._error = ""

    def run(self) -> None:
        """Ask for as long as it takes; switches, and never returns."""
        while True:
            began = time.monotonic()
            self._ask()
            self.news.set()
            gevent.sleep(max(0.0, began + self.interval - time.monotonic()))

    def _ask(self) -> None:
        try:
            self.roster.note(present(self.key, min(self.interval, WAIT)))
        except PostageError as exc:
            self._error = f"{type(exc).__name__}: {exc}"
        else:
            self.as_of, self._error = time.strftime("%H:%M:%S"), ""

    @property
    def trouble(self) -> str:
        """What keeps us from asking just now; empty where nothing does.

        Who asks may be waiting for a connection, and not have failed yet.
        """
        lost = any(each.losses and each.state != "open" for each in green.statistics())
        return self._error or ("the connection to the broker is lost" if lost else "")
