"""Where a broker changes the header of a message, the rest of the header keeps its bytes."""

from __future__ import annotations

import struct
from contextlib import closing
from typing import Any

import pytest

from postage import parking
from postage.broker.session.node import Node
from postage.broker.wire.content import decode_properties, encode_properties, shortened
from postage.broker.wire.fields import EncodedValue, Long, encode_table
from postage.broker.wire.framing import FrameParser
from postage.broker.wire.methods import encode
from postage.green.amqp.properties import Properties, encoded_table
from postage.parking.walk import connection_to
from postage.protocol import HEADER
from postage.testing.polling import wait_until
from tests.support.frame_client import FrameClient, body, frame

QUORUM = {"x-queue-type": "quorum"}

FIELDS = {
    "b": b"\x07",
    "s": struct.pack(">h", 7),
    "I": struct.pack(">i", 7),
    "l": struct.pack(">q", 7),
    "f": struct.pack(">f", 1.5),
    "d": struct.pack(">d", 1.5),
    "x": struct.pack(">I", 2) + b"ab",
    "A": struct.pack(">I", 4) + b"b\x07b\x08",
    "F": struct.pack(">I", 4) + b"\x01nb\x07",
}
"""Values that a decoder could write back in another form, by the letters of their types."""
ENCODED = [b"\x01" + name.encode() * 2 + value for name, value in FIELDS.items()]
"""The same as fields of a table: RabbitMQ 4 sorts them."""
VALUES = {name: EncodedValue(name.encode() + value) for name, value in FIELDS.items()}
"""The same as the broker's own codec takes them."""


def published(queue: str, arguments: dict[str, Any], headers: dict[str, Any]) -> None:
    """Declare *queue* with *arguments* and publish a message to it."""
    properties = Properties(headers=encoded_table(ENCODED, headers))
    with closing(connection_to(None).open_channel(confirms=True)) as channel:
        channel.queue_declare(queue, durable=True, arguments=arguments)
        channel.publish_confirmed("", queue, properties, b"1", limit=5)


def looked(queue: str) -> bytes:
    """Return the header of the first message of *queue*; assert that our fields are in it."""
    found: list[parking.FailedMessage] = []
    wait_until(lambda: found.extend(parking.look(queue, anyway=True)) or found)
    assert [each for each in ENCODED if each not in found[0].header] == []
    return found[0].header


@pytest.mark.usefixtures("broker_env")
class TestOnAllBrokers:
    """What the embedded broker and RabbitMQ have in common."""

    @pytest.mark.parametrize(("queue", "arguments"), [("classic", {}), ("quorum", QUORUM)])
    def test_a_message_that_comes_again(self, queue, arguments):
        published(queue, arguments, {})
        first = looked(queue)
        assert (looked(queue) == first) is (queue == "classic")

    def test_a_dead_letter(self):
        connection_to(None).open_channel().queue_declare("dead", durable=True)
        to_dead = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead"}
        published("dying", {**to_dead, "x-message-ttl": 1}, {})
        assert b"x-death" in looked("dead")

    def test_a_copy_without_its_blind_keys(self):
        published("copied", {}, {"BCC": ["nowhere"]})
        assert b"nowhere" not in looked("copied")


def _header(client: FrameClient) -> bytes:
    """Return flags and properties in the only header frame for *client*."""
    frames = FrameParser(1 << 20).feed(client.connection.take_output())
    (found,) = (payload for kind, _, payload in frames if kind == HEADER)
    return found[12:]


def test_a_direct_call(node: Node) -> None:
    client = FrameClient(node).open(1)
    client.call("queue.declare", 1, queue="q")
    reply_to = "amq.rabbitmq.reply-to"
    client.call("basic.consume", 1, queue=reply_to, consumer_tag="r", no_ack=True)
    properties = encode_properties({"reply_to": reply_to, "headers": VALUES})
    start = frame(HEADER, 1, struct.pack(">HHQ", 60, 0, 1) + properties)
    client.send(encode(1, "basic.publish", routing_key="q"), start, body(1, b"x"))
    client.connection.take_output()

    client.send_method("basic.get", 1, queue="q")

    header = _header(client)
    assert encode_table(VALUES) in header
    assert decode_properties(header)["reply_to"] != reply_to


def test_a_header_that_is_shortened() -> None:
    data = encode_properties({"type": "t", "headers": {**VALUES, "x-death": []}})
    assert shortened(data, len(data) - 1) == encode_properties({"type": "t", "headers": VALUES})


def test_counts_are_as_long_as_those_of_rabbitmq() -> None:
    encoded = encode_properties({"headers": {"n": Long(1)}})
    assert encoded.endswith(b"\x01nl" + (1).to_bytes(8, "big"))
    assert encode_properties(decode_properties(encoded)) == encoded
