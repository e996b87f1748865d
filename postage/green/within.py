"""Waiting for several things, one after the other, within one limit."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import gevent
from gevent.event import Event

__all__ = ["within"]


@contextmanager
def within(seconds: float, event: Event) -> Iterator[None]:
    """End the block after *seconds*, or when *event* is set, if that is sooner.

    What the block waits for then is left as by a greenlet that was killed, but the program goes on
    after the block.  Timeouts of others pass through.
    """
    over = gevent.Timeout.start_new(seconds)
    greenlet: Any = gevent.getcurrent()

    def end(_event: object) -> None:
        greenlet.throw(over)  # in the hub, as the timeout itself does it

    event.rawlink(end)
    try:
        yield
    except gevent.Timeout as exc:
        if exc is not over:
            raise
    finally:
        event.unlink(end)
        over.close()
