"""The watchdog: looks every few seconds whether those who should consume do."""

from __future__ import annotations

import logging
from typing import Any, Protocol

import gevent.hub

from postage.green.amqp.pair import Pair

__all__ = ["Watchdog", "Watched"]

logger = logging.getLogger(__name__)

EVERY = 2.0
"""Seconds between two looks."""


class Watched(Protocol):
    """What is looked after."""

    def check(self) -> None:
        """See to it that what should be there is there; called in the hub, must not block."""


class Watchdog:
    """Looks after all consumers of one pair by one timer, which runs while there are any.

    What it finds should not happen: the end of a channel or consumer is heard of at once.  It is
    here for what nobody thought of.  A look asks this process alone, and not the broker: it costs
    about a microsecond for each queue.
    """

    def __init__(self, _pair: Pair) -> None:
        self._watched: dict[Watched, None] = {}
        self._timer: Any = None

    def add(self, watched: Watched) -> None:
        """Look after *watched*; never switches."""
        self._watched[watched] = None
        if self._timer is None:
            # Not a reason for the hub to go on: who waits for it has reasons of his own.
            self._timer = gevent.hub.get_hub().loop.timer(EVERY, EVERY, ref=False)
            self._timer.start(self._look)

    def discard(self, watched: Watched) -> None:
        """Leave *watched* to itself; fine when it was not looked after."""
        self._watched.pop(watched, None)
        if not self._watched and self._timer is not None:
            self._timer.close()
            self._timer = None

    def _look(self) -> None:
        for watched in list(self._watched):
            self._look_after(watched)

    @staticmethod
    def _look_after(watched: Watched) -> None:
        try:
            watched.check()
        except Exception:  # the others are looked after all the same
            logger.exception("The watchdog could not look after %r.", watched)
