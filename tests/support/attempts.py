"""Calls in greenlets of their own, whose errors are results like any other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gevent


def spawned(call: Callable[..., Any], *args: Any, **kwds: Any) -> gevent.Greenlet:
    """Spawn *call*; the greenlet's value is what it returned, or the exception it raised."""

    def attempt() -> Any:
        try:
            return call(*args, **kwds)
        except Exception as exc:
            return exc

    return gevent.spawn(attempt)


def outcomes(runs: list[gevent.Greenlet], within: float) -> list[Any]:
    """Return the values of *runs*, all of which must end *within* seconds."""
    done = gevent.joinall(runs, timeout=within)
    assert len(done) == len(runs), f"{len(runs) - len(done)} of {len(runs)} hang"
    return [run.value for run in runs]
