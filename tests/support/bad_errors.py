"""Errors of all kinds that a handler may raise."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from typing import Any, NoReturn

import gevent
import greenlet

from postage import messaging


class Rude(BaseException):
    """A BaseException that is no Exception."""


class Speechless(Exception):
    """An error whose str() raises."""

    def __str__(self) -> str:
        raise ValueError("no words")


class Fatal(Exception):
    """An error whose str() would end the program."""

    def __str__(self) -> str:
        raise SystemExit(3)


class Wordless(Exception):
    """An error whose str() returns no text."""

    def __str__(self) -> str:
        return None  # type: ignore[return-value]  # noqa: PLE0307 - on purpose


class MuteRejection(messaging.RejectMessage):
    """A rejection whose str() raises."""

    def __str__(self) -> str:
        raise ValueError("no words")


class Faceless(Exception):
    """An error whose repr() raises."""

    def __repr__(self) -> str:
        raise ValueError("no face")


def recurse() -> NoReturn:
    recurse()


def chained() -> NoReturn:
    """Raise an error whose cause has a cause."""
    second = ValueError("second")
    second.__cause__ = KeyError("first")
    raise OSError("third") from second


def in_a_circle() -> NoReturn:
    """Raise an error that is the cause of its own cause."""
    one, other = ValueError("one"), ValueError("other")
    one.__cause__, other.__cause__ = other, one
    raise one


def raising(exc: BaseException | type[BaseException]) -> Callable[[], NoReturn]:
    def fail() -> NoReturn:
        raise exc

    return fail


#: By description: the name of the class that the caller gets, and a function that raises.
RAISERS: dict[str, tuple[str, Callable[[], Any]]] = {
    "ValueError": ("ValueError", raising(ValueError("no good"))),
    "a bare class": ("Exception", raising(Exception)),
    "KeyError": ("KeyError", lambda: {}["missing"]),
    "ZeroDivisionError": ("ZeroDivisionError", lambda: 1 / 0),
    "AttributeError": ("AttributeError", lambda: None.missing),  # type: ignore[attr-defined]
    "AssertionError": ("AssertionError", raising(AssertionError())),
    "UnicodeDecodeError": ("UnicodeDecodeError", b"\xff".decode),
    "MemoryError": ("MemoryError", raising(MemoryError())),
    "RecursionError": ("RecursionError", recurse),
    "TypeError from a bad call": ("TypeError", lambda: recurse(1)),  # type: ignore[call-arg]
    "SystemExit": ("SystemExit", raising(SystemExit)),
    "sys.exit(text)": ("SystemExit", lambda: sys.exit("text")),
    "KeyboardInterrupt": ("KeyboardInterrupt", raising(KeyboardInterrupt)),
    "GreenletExit": ("GreenletExit", raising(greenlet.GreenletExit)),
    "GeneratorExit": ("GeneratorExit", raising(GeneratorExit)),
    "StopAsyncIteration": ("StopAsyncIteration", raising(StopAsyncIteration)),
    "CancelledError": ("CancelledError", raising(asyncio.CancelledError)),
    "a BaseException of the user's": ("Rude", raising(Rude("so there"))),
    "a gevent.Timeout": ("Timeout", raising(gevent.Timeout(5))),
    "another PostageError": ("PostageError", raising(messaging.PostageError("x"))),
    "FilterError": ("FilterError", raising(messaging.FilterError("x"))),
    "an error whose str() raises": ("Speechless", raising(Speechless())),
    "an error whose str() exits": ("Fatal", raising(Fatal())),
    "a rejection whose str() raises": ("MuteRejection", raising(MuteRejection())),
    "RejectMessage": ("RejectMessage", raising(messaging.RejectMessage("not for me"))),
    "an error whose str() is None": ("Wordless", raising(Wordless())),
    "an error whose repr() raises": ("Faceless", raising(Faceless("x"))),
    "a text of half a surrogate pair": ("ValueError", raising(ValueError("\ud800"))),
    "a text of 100,000 letters": ("ValueError", raising(ValueError("x" * 100_000))),
    "arguments that are no text": ("ValueError", raising(ValueError(object(), {1, 2}))),
    "a chain of errors": ("OSError", chained),
    "a circle of errors": ("ValueError", in_a_circle),
}
