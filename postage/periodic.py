"""Periodic jobs: a decorator that only marks, as those of handlers do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from postage.errors import SettingsError

__all__ = ["every", "jobs_of"]

T = TypeVar("T", bound=Callable[..., Any])
_MARK = "_postage_every"


def every(seconds: float) -> Callable[[T], T]:
    """Mark a method of a processor, without arguments, as running every so many *seconds*.

    It runs while the processor does, for the first time after *seconds*, in a greenlet of its pool:
    it counts as one of its ``concurrency``, and when the processor stops it may finish as handlers
    may.  A turn that comes while the one before still runs is left out.  What it raises is logged
    and counted, and the next turn comes; `StopIteration`, `ExitScheduler` and `AckAndRestart` mean
    what they mean in handlers.  An override in a subclass needs a mark of its own.

    Raises `SettingsError` for what is no time to wait.
    """
    if not 0 < seconds < float("inf"):
        raise SettingsError(f"every({seconds!r}): it takes seconds, more than 0")

    def mark(method: T) -> T:
        setattr(method, _MARK, float(seconds))
        return method

    return mark


def jobs_of(kind: type) -> Iterator[tuple[str, float]]:
    """Yield the name and the seconds of each job of the class *kind*."""
    for name in dir(kind):
        seconds = getattr(getattr(kind, name, None), _MARK, None)
        if isinstance(seconds, float):
            yield name, seconds
