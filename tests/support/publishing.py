"""Publishing to a fake broker, and checking that each publish ends within its limit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import gevent

from postage.exchange import Exchange
from postage.green.amqp.pair import Pair
from postage.green.amqp.properties import Properties
from postage.green.publishing import Publication
from tests.support.attempts import outcomes
from tests.support.peer import Peer, listening
from tests.support.stopwatch import Stopwatch

SOON = 10.0
GRACE = 0.5
"""Seconds by which a wait may exceed its limit."""


class Depot(Exchange):
    """The exchange of these tests."""

    name = "depot"


def message(number: int = 1, to: type[Exchange] = Depot, **more: Any) -> Publication:
    """Return a message with *number* as its id."""
    return Publication(to, "rk", Properties(message_id=str(number)), b"body", **more)


@contextmanager
def pair_with(serve: Callable[[Peer], object], **settings: Any) -> Iterator[Pair]:
    """Yield the connections to a fake broker, which calls *serve* for each of them."""
    with listening(serve, **settings) as where:
        pair = Pair(where)
        try:
            yield pair
        finally:
            pair.close(0.05)


def in_time(
    runs: list[gevent.Greenlet[..., Any]], limit: float, watch: Stopwatch, *, earliest: float = 1.0
) -> list[Any]:
    """Return the outcomes of *runs*, and assert that they end by their *limit*, in seconds.

    They must have waited at least *earliest* times the limit.
    """
    found = outcomes(runs, limit + 2 * SOON)
    took = watch.own
    assert took < limit + GRACE, f"it took {took:.2f} s, not {limit} s"
    assert watch.seconds >= limit * earliest - 0.05, f"it took only {took:.2f} s"
    return found
