"""Has consumers begin, a few at a time: a thousand greenlets at once would cost 8 MB."""

from __future__ import annotations

from typing import Protocol

from postage.green.amqp.pair import Pair
from postage.green.pool import Pool

__all__ = ["Starter", "Starters"]

STARTING = 32
"""How many consumers of a pair begin at a time: each takes a greenlet for as long."""


class Starter(Protocol):
    """Who has something to begin."""

    def begin(self) -> None:
        """Begin; may wait for the broker."""


class Starters:
    """Those of one pair that wait for their turn to begin."""

    def __init__(self, _pair: Pair) -> None:
        self._pool: Pool[Starter] | None = None

    def submit(self, starter: Starter) -> None:
        """Have *starter* begin when its turn comes; never switches."""
        if self._pool is None:
            self._pool = Pool(STARTING, self._begin, "starting consumers")
        self._pool.submit(starter)

    def _begin(self, starter: Starter) -> None:
        try:
            starter.begin()
        finally:
            pool = self._pool
            if pool is not None and pool.busy == 1 and not pool.waiting:
                self._pool = None
                pool.retire()
