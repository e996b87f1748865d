"""Handlers and messages for tests of dispatch."""

from __future__ import annotations

import functools

from postage.dispatch import NextAction
from postage.errors import AckAndRestart, ExitScheduler
from postage.handlers import MessageFilter
from postage.message import MessageCommand
from tests.support.bound import bound

CONTENT = {"parameters": {"list": [1, 2]}}
ENDINGS = [
    (StopIteration(), NextAction.STOP),
    (ExitScheduler(), NextAction.EXIT),
    (AckAndRestart(), NextAction.RESTART),
]
"""Exceptions that end the processor after the message, and what follows each."""


class Speechless(Exception):
    def __str__(self):
        raise TypeError("no words")


def command(name="sum", parameters=None):
    """Return the body of a command."""
    return MessageCommand(name, parameters or {"list": [1, 2]}).body


def raising(exc):
    """Return a handler that raises *exc*."""

    def handler(*_):
        raise exc

    return handler


def on_content(*handlers):
    """Return *handlers* as dispatch takes them, for the content of a message."""
    return [bound(handler) for handler in handlers]


def filtered(handler, *filters):
    """Return a handler like *handler* with *filters*, the innermost first."""

    @functools.wraps(handler)
    def with_filters(*args):
        handler(*args)

    for each in filters:
        MessageFilter(each)(with_filters)
    return with_filters


def discard(exc):
    """Return a filter that raises *exc*."""
    return raising(exc)
