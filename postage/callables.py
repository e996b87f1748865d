"""Callables of users: their names, and whether a call runs their code."""

from __future__ import annotations

import inspect
import types
from collections.abc import AsyncGenerator, Awaitable, Coroutine, Generator
from contextlib import suppress
from functools import partial, partialmethod
from typing import Any

from postage.errors import HandlerError

__all__ = ["close_unrun", "name_of", "refuse_lazy"]

_LAZY = {
    "async": (inspect.iscoroutinefunction, inspect.isasyncgenfunction),
    "a generator (it contains yield)": (inspect.isgeneratorfunction,),
}


def refuse_lazy(function: Any, where: str = "") -> None:
    """Raise `HandlerError` if a call of *function* would only return code that has to be run.

    *function* is anything that can be called, or a `Handler` class, whose ``call`` is examined.  A
    plain function around an async one is allowed, because it may run it.
    """
    inner = function
    while True:
        if isinstance(inner, (partial, partialmethod)):
            inner = inner.func
        elif isinstance(inner, (types.MethodType, staticmethod, classmethod)):
            inner = inner.__func__
        elif isinstance(inner, type):
            inner = inspect.getattr_static(inner, "call", None)
        else:
            break
    called = getattr(type(inner), "__call__", None)  # noqa: B004 - the function is wanted
    for kind, is_kind in _LAZY.items():
        if any(each(inner) or each(called) for each in is_kind):
            reason = (
                f"is {kind}: a call would return before any of its code has run.  Write a plain "
                f"def; it may block, as each message has a greenlet of its own.  For asyncio see "
                f"docs/processors.md."
            )
            raise HandlerError(where or name_of(function), reason)


def close_unrun(value: Any) -> bool:
    """Return whether *value* is code that somebody has to run: a coroutine, generator or future.

    A coroutine or generator is closed: otherwise Python warns that it was never awaited.
    """
    if not isinstance(value, (Generator, AsyncGenerator, Awaitable)):
        return False
    if isinstance(value, (Generator, Coroutine)):
        with suppress(Exception):  # the code of the user may raise anything
            value.close()
    return True


def name_of(function: Any) -> str:
    """Return the qualified name of *function*, for the log; of anything else, its ``repr``."""
    if isinstance(function, (partial, partialmethod)):
        return name_of(function.func)
    # A bound `Handler` class has no name of its own, but the class has.
    function = getattr(function, "__func__", function)
    return str(getattr(function, "__qualname__", repr(function)[:100]))
