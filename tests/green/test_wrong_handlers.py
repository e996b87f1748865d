"""Handlers whose code a call does not run, and handlers whose names hide attributes."""

from __future__ import annotations

import functools
import logging
from typing import Any
from unittest.mock import AsyncMock

import pytest

from postage import messaging
from postage.errors import HandlerError
from postage.green import GenericApplication, MicroThread, Scheduler
from postage.handlers import every
from postage.testing.polling import wait_until
from tests.support.endpoints import Endpoint
from tests.support.raw import Raw
from tests.support.running import SOON, running

pytestmark = pytest.mark.usefixtures("broker_env")


async def coroutine(*_: Any) -> None: ...


def lines(*_: Any) -> Any:
    yield


class Careless(messaging.MessageProcessor):
    """Hides what a call does not run, so that only the returned value shows it."""

    @messaging.MessageHandler("command", "coroutine")
    def returns_a_coroutine(self, content: Any) -> Any:
        return coroutine()

    @messaging.MessageHandler("command", "generator")
    def returns_a_generator(self, content: Any) -> Any:
        return lines()

    @messaging.MessageHandlerFullBody("command", "whole")
    def returns_a_coroutine_for_a_body(self, body: Any) -> Any:
        return functools.partial(coroutine, 1)()

    @messaging.MessageHandler("command", "nested")
    class Nested(messaging.Handler):
        def call(self) -> Any:
            return coroutine()

    @messaging.MessageFilter(lambda _: coroutine())
    @messaging.MessageHandler("command", "filtered")
    def filtered(self, content: Any) -> None:
        raise AssertionError("the filter did not run")

    @messaging.RpcHandler("command", "ask")
    def ask(self, content: Any, reply: Any) -> Any:
        return coroutine()


NAMES = ["coroutine", "generator", "whole", "nested", "filtered", "mocked"]


@pytest.mark.behaviour("message-outcomes")
@pytest.mark.parametrize("name", NAMES)
def test_its_message_is_rejected_and_the_log_says_why(
    endpoint: Endpoint, raw: Raw, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    raw.declare(endpoint.dead)
    processor = Careless({"name": "careless"}, endpoint.strict)
    processor.mocked = messaging.MessageHandler("command", "mocked")(lambda _: AsyncMock()())  # type: ignore[attr-defined]
    with running(processor):
        endpoint.producer().send(name)
        wait_until(lambda: processor.counts["failed"] == 1, SOON)

    assert raw.take(endpoint.dead)
    (record,) = [each for each in caplog.records if each.levelno >= logging.ERROR]
    assert record.exc_info is not None
    assert "code that has not run" in str(record.exc_info[1])


@pytest.mark.behaviour("rpc-handlers")
def test_the_caller_of_such_a_handler_gets_the_reason(endpoint: Endpoint) -> None:
    with running(Careless({"name": "careless"}, endpoint.eqk)):
        result = endpoint.producer().call("ask")

    assert (result.kind, result.value) == ("exception", "HandlerError")
    assert "Careless.ask returned code that has not run (coroutine)" in result.message


def test_a_turn_of_such_a_job_has_failed(endpoint: Endpoint) -> None:
    class Ticking(messaging.MessageProcessor):
        @every(0.02)
        def tick(self) -> Any:
            return coroutine()

    processor = Ticking({"name": "ticking"}, endpoint.eqk)
    with running(processor):
        wait_until(lambda: processor.counts["failed_jobs"] > 1, SOON)


# --- other code of users that a call would not run


def test_a_callback_that_a_call_does_not_run_is_refused(endpoint: Endpoint) -> None:
    processor = messaging.MessageProcessor({"name": "x"}, endpoint.eqk)

    with pytest.raises(HandlerError, match="coroutine is async"):
        processor.add_timeout(0, coroutine)
    with pytest.raises(HandlerError, match="lines is a generator"):
        processor.consumer.start_consuming(lines)


@pytest.mark.parametrize("name", ["create", "step"])
@pytest.mark.parametrize("method", [coroutine, lines])
@pytest.mark.parametrize("base", [MicroThread, messaging.MessageProcessor])
def test_a_microthread_that_would_never_run_is_refused(base: Any, method: Any, name: str) -> None:
    microthread = type("Lazy", (base,), {name: method})()

    with pytest.raises(HandlerError, match=r"is (async|a generator)"):
        Scheduler().add_microthread(microthread)


# --- names


def test_every_attribute_of_an_instance_is_known_to_the_class(endpoint: Endpoint) -> None:
    processors = [
        messaging.MessageProcessor({"name": "x"}, endpoint.eqk),
        GenericApplication({"name": "x"}),
    ]
    for processor in processors:
        with running(processor):
            names = list(vars(processor))
        for name in names:
            with pytest.raises(HandlerError, match=f"{name} hides"):
                type("P", (type(processor),), {name: messaging.MessageHandler("a", "b")(lines_of)})


def lines_of(self: Any, content: Any) -> None: ...


@pytest.mark.parametrize("name", ["fingerprint", "restart", "_handle", "counts", "concurrency"])
def test_a_handler_of_an_instance_may_not_hide_them(endpoint: Endpoint, name: str) -> None:
    processor = messaging.MessageProcessor({"name": "x"}, endpoint.eqk)

    @messaging.MessageHandler("command", "x")
    def handler(self: Any, content: Any) -> None: ...

    handler.__name__ = name
    with pytest.raises(HandlerError, match=f"MessageProcessor.{name} hides"):
        processor.add_handler(handler)
    with pytest.raises(HandlerError, match=f"MessageProcessor.{name} hides"):
        setattr(processor, name, handler)
    assert not processor._own_handlers


@pytest.mark.parametrize("value", [0, [], None, "text"])
def test_an_attribute_may_not_hide_a_handler(endpoint: Endpoint, value: Any) -> None:
    class Counting(messaging.MessageProcessor):
        @messaging.MessageHandler("command", "count")
        def count(self, content: Any) -> None: ...

        def __init__(self) -> None:
            super().__init__({"name": "x"}, endpoint.eqk)
            self.count = value  # type: ignore[method-assign]

    with pytest.raises(HandlerError, match=r"Counting.count is a handler, and cannot be set to"):
        Counting()
