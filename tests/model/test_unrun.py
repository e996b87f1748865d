"""Handlers that return a coroutine, generator or future instead of running it have failed."""

from __future__ import annotations

import functools
import re
from typing import Any
from unittest.mock import AsyncMock, MagicMock

import pytest

from postage.dispatch import Reply, Verdict, dispatch, perform
from postage.errors import HandlerError
from postage.handlers import Handler, MessageFilter
from postage.message import MessageCommand, MessageResult
from tests.support.bound import bound


def command():
    """Return the body of a command."""
    return MessageCommand("sum", [1, 2]).body


def on_content(*handlers):
    """Return *handlers* as dispatch takes them, for the content of a message."""
    return [bound(handler) for handler in handlers]


class Later:
    """Something to be awaited, as the futures of asyncio are."""

    def __await__(self):
        yield


def unrun(*_):
    return (number for number in range(3))


async def coroutine(*_): ...


async def agen(*_):
    yield


UNRUN = {
    "coroutine": coroutine,
    "generator": unrun,
    "async generator": agen,
    "awaitable": lambda *_: Later(),
    "AsyncMock": AsyncMock(),
    "partial": functools.partial(coroutine, 1),
    "lambda": lambda *_: coroutine(),
}
each_unrun = pytest.mark.parametrize("handler", UNRUN.values(), ids=UNRUN.keys())
TEXT = r"returned code that has not run \(\w+\)"


@each_unrun
@pytest.mark.parametrize("part", ["content", None])
def test_returned_code_is_a_failure_and_the_others_run(handler, part):
    got = []
    outcome = dispatch(command(), [bound(handler, part), bound(got.append, part)])

    assert (outcome.verdict, len(got)) == (Verdict.REJECT, 1)
    (failure,) = outcome.failures
    assert isinstance(failure, HandlerError)
    assert re.search(TEXT, str(failure))


@each_unrun
def test_the_caller_of_returned_code_gets_the_reason(handler):
    sent: list[Any] = []
    reply = Reply(sent.append)
    outcome = dispatch(command(), on_content(handler), reply=reply)

    assert outcome.verdict is Verdict.REJECT
    (result,) = sent
    assert result.value == "HandlerError"
    assert re.search(TEXT, result.message)


@each_unrun
@pytest.mark.parametrize("later", [False, True])
def test_returned_code_after_a_reply_is_a_failure_too(handler, later):
    def answer(content, reply):
        reply.later() if later else reply(1)
        return handler(content)

    sent: list[Any] = []
    reply = Reply(sent.append)
    outcome = dispatch(command(), on_content(answer), reply=reply)

    assert outcome.verdict is Verdict.REJECT
    assert len(sent) == 1


@each_unrun
def test_a_filter_that_returns_code_is_a_failure(handler):
    got = []

    def filtered(content):
        got.append(content)

    filtered.filters = [MessageFilter(lambda _: handler(1))]
    outcome = dispatch(command(), on_content(filtered))

    assert (got, outcome.verdict, outcome.filtered) == ([], Verdict.REJECT, 0)


@each_unrun
def test_a_job_that_returns_code_is_a_failure(handler):
    outcome = perform(functools.partial(handler))

    assert [type(failure) for failure in outcome.failures] == [HandlerError]


@each_unrun
def test_a_handler_class_whose_call_returns_code_is_a_failure(handler):
    class Nested(Handler):
        def call(self):
            return handler(self.data)

    method = functools.partial(Nested, None)
    sent: list[Any] = []
    reply = Reply(sent.append)

    assert dispatch(command(), on_content(method)).verdict is Verdict.REJECT
    assert dispatch(command(), on_content(method), reply=reply).verdict is Verdict.REJECT
    assert [result.value for result in sent] == ["HandlerError"]


def test_a_generator_that_raises_when_it_is_closed_is_a_failure():
    def raising():
        try:
            yield
        finally:
            raise ValueError("bad")

    begun = raising()
    next(begun)

    assert dispatch(command(), on_content(lambda _: begun)).verdict is Verdict.REJECT


@pytest.mark.parametrize(
    "value", [0, "text", [1], {}, (1,), MagicMock(), range(3), object(), MessageResult(1)]
)
def test_every_other_value_of_a_message_handler_is_ignored(value):
    outcome = dispatch(command(), on_content(lambda _: value))

    assert (outcome.verdict, outcome.failures) == (Verdict.ACK, [])
