"""Builders that return no message, and callbacks that a call would not run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from postage import messaging
from postage.errors import HandlerError, SettingsError
from tests.support.endpoints import Endpoint
from tests.support.raw import Raw

pytestmark = pytest.mark.usefixtures("broker_env")


class Careless(messaging.GenericProducer):
    """Its builders have mistakes."""

    def build_message_none(self) -> None:
        messaging.MessageCommand("none")

    build_rpc_none = build_message_none

    def build_message_body(self) -> Any:
        return messaging.MessageCommand("body").body

    build_rpc_body = build_message_body

    async def build_message_coroutine(self) -> Any:
        return messaging.MessageCommand("coroutine")

    build_rpc_coroutine = build_message_coroutine

    def build_message_generator(self) -> Any:
        yield messaging.MessageCommand("generator")

    build_rpc_generator = build_message_generator

    def build_message_class(self) -> Any:
        return messaging.MessageCommand

    build_rpc_class = build_message_class

    def build_message_wrong(self) -> Any:
        return messaging.MessageCommand(self.no_such_attribute)

    build_rpc_wrong = build_message_wrong


@pytest.mark.parametrize("name", ["none", "body", "coroutine", "generator", "class"])
@pytest.mark.parametrize("way", ["send", "call", "message_", "rpc_", "rpc_queue_"])
def test_what_is_no_message_is_refused_with_the_builder(
    endpoint: Endpoint, way: str, name: str
) -> None:
    producer = endpoint.producer(Careless)

    with pytest.raises(
        SettingsError, match=rf"Careless.build_message_{name} must return a message, not "
    ):
        getattr(producer, way)(name) if way in ("send", "call") else getattr(producer, way + name)()


@pytest.mark.parametrize(
    "built",
    [messaging.Message(1), messaging.MessageCommand("x"), messaging.MessageStatus("x")],
    ids=lambda built: type(built).__name__,
)
@pytest.mark.parametrize("way", ["call", "later", "queue only"])
def test_a_call_that_nobody_answers_is_refused(endpoint: Endpoint, way: str, built: Any) -> None:
    """It would wait for its timeout, 150 seconds by default."""
    producer: Any = endpoint.producer(build_rpc_x=lambda _self: built)
    ways: dict[str, Callable[[], object]] = {
        "call": producer.rpc_x,
        "later": producer.rpc_x.later,
        "queue only": producer.rpc_queue_x,
    }

    with pytest.raises(SettingsError, match=r"of the category 'rpc', such as RpcCommand: nobody"):
        ways[way]()


def test_a_message_may_be_made_a_call(endpoint: Endpoint, raw: Raw, queue: str) -> None:
    message = messaging.MessageCommand("x")
    message.body["category"] = "rpc"
    endpoint.producer(build_rpc_x=lambda _self: message).rpc_queue_x()

    assert raw.take(queue).value["category"] == "rpc"


@pytest.mark.parametrize("way", ["message_wrong", "rpc_wrong"])
def test_the_attribute_errors_of_builders_are_raised(endpoint: Endpoint, way: str) -> None:
    with pytest.raises(AttributeError, match="no_such_attribute"):
        getattr(endpoint.producer(Careless), way)()


async def collect(reply: Any) -> None: ...


def test_an_async_callback_of_replies_is_refused(endpoint: Endpoint) -> None:
    with pytest.raises(HandlerError, match="collect is async"):
        endpoint.producer().consume_rpc("queue", callback=collect)
