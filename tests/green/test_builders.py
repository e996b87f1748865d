"""Builders that return no message, and callbacks that a call would not run."""

from __future__ import annotations

from typing import Any

import pytest

from postage import messaging
from postage.errors import HandlerError, SettingsError
from tests.support.endpoints import Endpoint

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


@pytest.mark.parametrize("way", ["message_wrong", "rpc_wrong"])
def test_the_attribute_errors_of_builders_are_raised(endpoint: Endpoint, way: str) -> None:
    with pytest.raises(AttributeError, match="no_such_attribute"):
        getattr(endpoint.producer(Careless), way)()


async def collect(reply: Any) -> None: ...


def test_an_async_callback_of_replies_is_refused(endpoint: Endpoint) -> None:
    with pytest.raises(HandlerError, match="collect is async"):
        endpoint.producer().consume_rpc("queue", callback=collect)
