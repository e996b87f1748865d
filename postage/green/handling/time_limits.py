"""A time limit for a handler or job."""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable
from functools import partialmethod, wraps
from typing import Any, TypeVar

import gevent

from postage.callables import name_of, refuse_lazy
from postage.errors import HandlerError
from postage.handlers import Handler
from postage.values import seconds as duration

__all__ = ["TIME_LIMIT", "TimeLimit", "time_limit"]

T = TypeVar("T")
GRACE_AFTER_LIMIT = 1.0
"""Seconds after which a handler that has caught `TimeLimit`, and goes on, gets it once more."""
TIME_LIMIT = "_postage_time_limit"
"""The attribute in which a function with a time limit has its seconds."""
_check = duration()


class TimeLimit(BaseException):
    """Raised in a handler that takes longer than its `time_limit`.

    `TimeLimit` is no `Exception`, as `gevent.Timeout`, so ``except Exception`` does not catch it.
    """

    def __init__(self, limit: float) -> None:
        super().__init__(limit)
        self.limit = limit
        """Seconds."""

    def __str__(self) -> str:
        """Say what has happened, for the log and for callers."""
        return f"it took longer than its time limit of {self.limit:g} s"


def time_limit(seconds: float) -> Callable[[T], T]:
    """Decorate a handler, a `Handler` class or a job: it fails if it takes longer than *seconds*.

    `TimeLimit` is then raised in the handler, where it waits, and has the effect of any exception:
    the message has failed, and a caller gets an exception result.  If the handler catches
    `TimeLimit` and goes on, it is raised once more, a second later.

    The limit includes the time in which the handler waits, also for calls and confirms, but not the
    time of filters.  It holds for a stream as a whole.  Code that computes without waiting is not
    interrupted before it waits, and greenlets that the handler has spawned go on.

    Write it above or below the decorator of the handler.  Raises `SettingsError` if *seconds* is
    not a positive, finite number, and `HandlerError` for what is no handler.  Never switches.
    """
    if callable(seconds):
        raise HandlerError(name_of(seconds), "needs a limit: write @time_limit(seconds)")
    _check("the limit of @time_limit", seconds)

    def decorate(func: Any) -> Any:
        if not inspect.isgeneratorfunction(func):  # which may be a typed handler with a stream
            refuse_lazy(func)
        if isinstance(func, (staticmethod, classmethod)):
            return type(func)(decorate(func.__func__))
        if isinstance(func, type) and issubclass(func, Handler):
            func.call = decorate(func.call)  # type: ignore[method-assign]  # of this class only
            return func
        if isinstance(func, (type, partialmethod)) or not callable(func):
            raise HandlerError(name_of(func), "is no function, so it can have no @time_limit")
        return _limited(func, float(seconds))

    return decorate


def _limited(func: Callable[..., Any], limit: float) -> Callable[..., Any]:
    """Return *func* with the limit; like *func*, it has a parameter ``self`` or not."""

    def run(*args: Any, **kwds: Any) -> Any:
        error = TimeLimit(limit)
        with gevent.Timeout(limit, error), gevent.Timeout(limit + GRACE_AFTER_LIMIT, error):
            return func(*args, **kwds)

    def run_generator(*args: Any, **kwds: Any) -> Any:
        error = TimeLimit(limit)
        with gevent.Timeout(limit, error), gevent.Timeout(limit + GRACE_AFTER_LIMIT, error):
            yield from func(*args, **kwds)

    if inspect.isgeneratorfunction(func):
        limited = wraps(func)(run_generator)
        setattr(limited, TIME_LIMIT, limit)
        return limited

    def run_method(self: Any, *args: Any, **kwds: Any) -> Any:
        return run(self, *args, **kwds)

    # A function that is set on an instance is bound to it if its first parameter is ``self``.
    is_method = isinstance(func, types.FunctionType) and func.__code__.co_varnames[:1] == ("self",)
    limited = wraps(func)(run_method if is_method else run)
    setattr(limited, TIME_LIMIT, limit)
    return limited
