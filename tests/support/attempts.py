"""Calls in greenlets, whose errors are values like other results."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gevent

from tests.support.stopwatch import Stopwatch

BUSY = 30.0
"""Seconds after which not even a busy machine is an excuse."""


def spawned(call: Callable[..., Any], *args: Any, **kwds: Any) -> gevent.Greenlet:
    """Spawn *call*; the value of the greenlet is the result of the call, or its exception."""

    def attempt() -> Any:
        try:
            return call(*args, **kwds)
        except Exception as exc:
            return exc

    return gevent.spawn(attempt)


def outcomes(runs: list[gevent.Greenlet], within: float) -> list[Any]:
    """Return the values of *runs*; assert that all end *within* seconds of `Stopwatch.own`."""
    watch = Stopwatch()
    while (left := within - watch.own) > 0 and watch.seconds < max(within, BUSY):
        if len(gevent.joinall(runs, timeout=left)) == len(runs):
            break
    hanging = sum(not run.dead for run in runs)
    assert not hanging, f"{hanging} of {len(runs)} hang"
    return [run.value for run in runs]
