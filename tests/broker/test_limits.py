"""Limits of clients: memory, connections, queues, and answers that they do not read."""

from __future__ import annotations

import math
import struct
from typing import Any

import pytest

from postage.broker.core.limits import Limits
from postage.broker.faults import Faults
from postage.broker.server import Broker
from postage.broker.session.node import Node
from postage.broker.wire.content import encode_properties
from postage.broker.wire.methods import encode
from postage.errors import SettingsError
from postage.protocol import HEADER
from tests.support.frame_client import (
    ALL_CAPABILITIES,
    HANDSHAKE,
    FrameClient,
    body,
    closed_with,
    frame,
    names_of,
    new_node,
)


def test_publishers_are_told_that_they_are_blocked(node: Node) -> None:
    publisher, reader = FrameClient(node).open(1), FrameClient(node).open(1)
    publisher.publish("nowhere")
    Faults(node).block("a test")
    (blocked,) = publisher.receive()
    assert (blocked.method.name, blocked.reason) == ("connection.blocked", "a test")
    assert publisher.connection.reading_paused
    assert reader.receive() == []
    assert not reader.connection.reading_paused
    Faults(node).unblock()
    assert names_of(publisher.receive()) == ["connection.unblocked"]
    assert not publisher.connection.reading_paused


def test_a_client_is_blocked_when_it_first_publishes(node: Node) -> None:
    Faults(node).block("a test")
    client = FrameClient(node).open(1)
    client.call("queue.declare", 1, queue="q")
    client.publish("q")
    assert names_of(client.receive()) == ["connection.blocked"]
    assert len(node.vhosts["/"].queues["q"]) == 1  # blocked, not refused


def test_clients_that_know_no_blocking_are_held_back_as_well(node: Node) -> None:
    client = FrameClient(node).open(1, capabilities={})
    client.publish("nowhere")
    Faults(node).block("a test")
    assert (client.receive(), client.connection.reading_paused) == ([], True)
    outputs = client.outputs
    Faults(node).unblock()
    assert client.outputs == outputs + 1, "the reader of its socket must learn that it may go on"


def test_a_closing_connection_is_not_told_of_an_alarm(node: Node) -> None:
    client = FrameClient(node).open(1)
    client.publish("nowhere")
    client.send_method("queue.declare", 9)
    Faults(node).block("a test")
    assert names_of(client.receive()) == ["connection.close"]
    assert not client.connection.reading_paused


def test_memory_blocks_and_a_purge_unblocks() -> None:
    node = new_node(memory=10_000)
    publisher, other = FrameClient(node).open(1), FrameClient(node).open(1)
    publisher.call("queue.declare", 1, queue="q")
    for _ in range(10):
        publisher.publish("q", b"x" * 800)
    assert names_of(publisher.receive()) == ["connection.blocked"]
    assert other.call("queue.purge", 1, queue="q").message_count == 10
    assert names_of(publisher.receive()) == ["connection.unblocked"]
    assert node.memory == 0


def test_unacknowledged_messages_are_still_charged() -> None:
    node = new_node(memory=10_000)
    publisher, consumer = FrameClient(node).open(1), FrameClient(node).open(1)
    publisher.call("queue.declare", 1, queue="q")
    consumer.call("basic.consume", 1, queue="q", consumer_tag="c")
    for _ in range(10):
        publisher.publish("q", b"x" * 800)
    assert len(consumer.receive()) == 10
    assert names_of(publisher.receive()) == ["connection.blocked"]
    consumer.send_method("basic.ack", 1, delivery_tag=9, multiple=True)
    assert names_of(publisher.receive()) == ["connection.unblocked"]
    consumer.send_method("basic.nack", 1, delivery_tag=10, requeue=True)
    assert node.memory > 0
    consumer.send_method("basic.reject", 1, delivery_tag=11)
    assert node.memory == 0


def test_the_limit_of_connections() -> None:
    node = new_node(connections=2)
    for _ in range(2):
        FrameClient(node).open()
    new_client = FrameClient(node)
    for step in HANDSHAKE:
        step(new_client)
    closed_with(new_client, 530, "node connection limit (2) is reached")
    new_client.send_method("connection.close_ok")
    next(iter(node.connections)).close()
    FrameClient(node).open()


def test_the_limit_of_queues() -> None:
    client = FrameClient(new_node(queues=2)).open(1)
    for name in ("a", "b"):
        client.call("queue.declare", 1, queue=name)
    close = client.call("queue.declare", 1, queue="c")
    assert (close.method.name, close.reply_code) == ("channel.close", 406)
    client.send_method("channel.close_ok", 1)
    client.call("channel.open", 1)
    assert client.call("queue.declare", 1, queue="a").method.name == "queue.declare_ok"


def test_deliveries_pause_while_much_is_unsent(node: Node) -> None:
    client = FrameClient(node).open(1)
    client.call("queue.declare", 1, queue="q")
    for number in range(50):
        client.publish("q", bytes([number]) * 30_000)
    client.send_method("basic.consume", 1, queue="q", consumer_tag="c", no_ack=True)
    rounds = 0
    while len(node.vhosts["/"].queues["q"]):
        rounds += 1
        assert len(client.connection.take_output()) < 400_000
        client.connection.resume()
    assert rounds >= 4


def test_a_client_that_does_not_read_is_not_read_from() -> None:
    client = FrameClient(new_node(unsent=1000)).open(1)
    client.call("queue.declare", 1, queue="q")
    client.publish("q", b"x" * 300_000)
    client.send_method("basic.get", 1, queue="q")
    assert not client.connection.reading_paused, "one large answer is nobody's fault"
    for _ in range(100):  # pipelined
        client.send_method("basic.qos", 1)
    assert client.connection.reading_paused
    client.receive()
    client.connection.resume()
    client.connection.feed(b"")
    assert not client.connection.reading_paused


def test_invalid_capabilities_are_ignored(node: Node) -> None:
    new_client = FrameClient(node)
    new_client.start()
    new_client.send_method(
        "connection.start_ok",
        client_properties={"capabilities": ["x"], "connection_name": 5},
        mechanism="PLAIN",
        response=b"\0guest\0guest",
    )
    assert names_of(new_client.receive()) == ["connection.tune"]
    assert new_client.connection.name == "5"
    assert not any(new_client.connection.capability(name) for name in ALL_CAPABILITIES)


def test_dead_letters_come_after_all_copies(client: FrameClient) -> None:
    """A dead letter must not overtake the message that caused it, as in RabbitMQ."""
    arguments = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "q"}
    client.send_method("queue.declare", 1, queue="dying", arguments=arguments)
    client.send_method("queue.declare", 1, queue="q")
    for queue in ("dying", "q"):
        client.send_method("queue.bind", 1, queue=queue, exchange="amq.fanout")
    expired = encode_properties({"expiration": "0"})
    for _ in range(2):  # the second time, the route is cached
        head = frame(HEADER, 1, struct.pack(">HHQ", 60, 0, 1) + expired)
        client.send(encode(1, "basic.publish", exchange="amq.fanout"), head, body(1, b"m"))
        assert len(client.node.vhosts["/"].queues["q"]) == 1
        client.send_method("queue.purge", 1, queue="q")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("frame_max", value) for value in ("x", 0, 4095, None)),
        *(("channels", value) for value in (0, 65_536, 2.5)),
        *(("memory", value) for value in (-1, "1 GB")),
        *(("handshake", value) for value in (0, math.nan, "10")),
        *(("heartbeat", value) for value in (-1, 100_000)),
    ],
)
def test_a_limit_that_cannot_be_used_is_refused(name: str, value: Any) -> None:
    with pytest.raises(SettingsError, match=rf"^Limits\.{name} must be "):
        Limits(**{name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("host", value) for value in (None, 5, "")),
        *(("port", value) for value in (None, "x", -1, 65_536)),
        *(("users", value) for value in (5, "guest", {"a": 5}, {5: "b"})),
        *(("vhosts", value) for value in ("lab", 5, (5,))),
        *(("limits", value) for value in (5, {"queues": 1})),
    ],
)
def test_arguments_of_a_broker_are_checked(name: str, value: Any) -> None:
    with pytest.raises(SettingsError, match=f"^{name} must be "):
        Broker(**{name: value})
