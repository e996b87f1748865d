"""Shared transient queues on a broker that denies them by ending the connection: RabbitMQ 4."""

from __future__ import annotations

from typing import Any

import pika
import pika.exceptions
import pytest

from postage import messaging
from postage.errors import ChannelRefused
from postage.testing.polling import wait_until
from tests.support.endpoints import Endpoint
from tests.support.raw import parameters
from tests.support.running import SOON, consuming
from tests.support.undisturbed import Undisturbed

TRANSIENT = [
    {"durable": False},
    {"durable": False, "auto_delete": True},
    {"durable": False, "arguments": {"x-expires": 60_000}},
]


@pytest.fixture(scope="module", autouse=True)
def _broker_denies_them(broker_env: Any) -> None:
    """Skip this module if the broker permits them."""
    where = parameters(broker_env.hup, broker_env.vhost)
    with pika.BlockingConnection(where) as connection:
        try:
            connection.channel().queue_declare("permitted", durable=False)
        except pika.exceptions.ConnectionClosedByBroker:
            return
    pytest.skip("this broker permits shared transient queues")


@pytest.mark.parametrize("flags", TRANSIENT)
@pytest.mark.parametrize("name", ["named", ""])
@pytest.mark.parametrize("kind", [messaging.GenericConsumer, messaging.MessageProcessor])
def test_others_do_not_notice_a_denied_queue(
    endpoint: Endpoint, flags: dict[str, Any], name: str, kind: Any
) -> None:
    queue = {"name": name and endpoint.sub(name), "flags": flags}
    eqk = endpoint.at((queue, "bad"))
    with Undisturbed(endpoint):
        for _ in range(2):
            with pytest.raises(ChannelRefused, match="durable = False") as caught:
                kind(eqk=eqk) if kind is messaging.GenericConsumer else kind({}, eqk)
            assert caught.value.code == 541
            assert caught.value.is_final


@pytest.mark.parametrize("flags", TRANSIENT)
def test_a_running_consumer_outlives_a_denied_queue(
    endpoint: Endpoint, flags: dict[str, Any]
) -> None:
    consumer = messaging.GenericConsumer(endpoint.eqk)
    with consuming(consumer) as got:
        with pytest.raises(ChannelRefused, match="durable = False"):
            consumer.add_eqk(endpoint.at(({"name": endpoint.sub("bad"), "flags": flags}, "bad")))
        endpoint.producer().message_hello()
        wait_until(lambda: got, SOON)
        assert consumer.counts["restored"] == 0


@pytest.mark.parametrize("flags", [{"exclusive": True}, {"auto_delete": True}, {}])
def test_other_queues_are_permitted(endpoint: Endpoint, flags: dict[str, Any]) -> None:
    flags = {**flags, "durable": "exclusive" not in flags}
    queue = {"name": endpoint.queue, "flags": flags}
    with consuming(messaging.GenericConsumer(endpoint.at((queue, endpoint.key)))) as got:
        endpoint.producer().message_hello()
        wait_until(lambda: got, SOON)
