"""Calls in greenlets, whose errors are values like other results."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gevent


def spawned(call: Callable[..., Any], *args: Any, **kwds: Any) -> gevent.Greenlet:
    """Spawn *call*; the value of the greenlet is the result of the call, or its exception."""

    def attempt() -> Any:
        try:
            return call(*args, **kwds)
        except Exception as exc:
            return exc

    return gevent.spawn(attempt)


def outcomes(runs: list[gevent.Greenlet], within: float) -> list[Any]:
    """Return the values of *runs*; assert that all of them end *within* seconds."""
    done = gevent.joinall(runs, timeout=within)
    assert len(done) == len(runs), f"{len(runs) - len(done)} of {len(runs)} hang"
    return [run.value for run in runs]
