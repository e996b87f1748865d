"""The broker sends no header frame over frame_max, whatever has made the header longer."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postage.broker.core.likeness import likeness_of
from postage.broker.session.node import Node
from postage.broker.wire.content import decode_properties, encode_properties
from postage.broker.wire.framing import FrameParser
from postage.broker.wire.methods import encode
from postage.protocol import HEADER
from tests.support.frame_client import FrameClient, body, frame, new_node

ROOM = likeness_of().frame_min - 8 - 12
TO_DEAD = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead"}
QUORUM = {"x-queue-type": "quorum"}


def publish(client: FrameClient, properties: bytes, key: str, **flags: bool) -> None:
    start = struct.pack(">HHQ", 60, 0, 1)
    call = encode(1, "basic.publish", routing_key=key, **flags)
    client.send(call, frame(HEADER, 1, start + properties), body(1, b"x"))


def of_size(size: int, **headers: Any) -> bytes:
    """Return properties of *size* bytes; the header "z" fills them up."""
    short = encode_properties({"type": "t", "headers": {**headers, "z": ""}})
    return encode_properties({"type": "t", "headers": {**headers, "z": "z" * (size - len(short))}})


def sent(client: FrameClient, frame_max: int = likeness_of().frame_min) -> dict[str, Any]:
    """Return the properties in the only header frame for *client*; assert that all frames fit."""
    frames = list(FrameParser(frame_max - 8).feed(client.connection.take_output()))
    (found,) = (payload for type_, _, payload in frames if type_ == HEADER)
    return decode_properties(found[12:])


@pytest.fixture
def small(node: Node) -> FrameClient:
    """A client with the smallest frames, and a queue "q" whose dead letters go to "dead"."""
    client = FrameClient(node).open(1, frame_max=likeness_of().frame_min)
    client.call("queue.declare", 1, queue="q", arguments=TO_DEAD)
    client.call("queue.declare", 1, queue="dead")
    return client


def dead_letter(client: FrameClient, properties: bytes) -> None:
    publish(client, properties, "q")
    client.send_method("basic.get", 1, queue="q")
    client.send_method("basic.reject", 1, delivery_tag=1)
    client.connection.take_output()


def test_x_death_is_left_out_if_it_does_not_fit(small: FrameClient) -> None:
    dead_letter(small, of_size(ROOM))
    small.send_method("basic.get", 1, queue="dead")
    properties = sent(small)
    assert (properties["type"], properties["headers"].keys()) == ("t", {"z"})


def test_x_death_is_sent_if_it_fits(small: FrameClient) -> None:
    dead_letter(small, of_size(ROOM - 500))
    small.send_method("basic.get", 1, queue="dead")
    assert sent(small)["headers"]["x-death"][0]["count"] == 1


def test_copies_of_keys_in_x_death_do_not_grow_it(small: FrameClient) -> None:
    small.call("queue.declare", 1, queue="copies", arguments={"x-dead-letter-exchange": "d"})
    small.call("exchange.declare", 1, exchange="d", type="fanout")
    small.call("queue.bind", 1, queue="dead", exchange="d")
    copies = [f"{number:0200}" for number in range(39)]
    publish(small, encode_properties({"headers": {"CC": copies}}), "copies")
    small.send_method("basic.get", 1, queue="copies")
    small.send_method("basic.reject", 1, delivery_tag=1)
    small.connection.take_output()

    small.send_method("basic.get", 1, queue="dead")
    assert sent(small)["headers"] == {"CC": copies}


def test_x_delivery_count_is_left_out_if_it_does_not_fit(small: FrameClient) -> None:
    small.call("queue.declare", 1, queue="quorum", durable=True, arguments=QUORUM)
    publish(small, of_size(ROOM), "quorum")
    small.send_method("basic.get", 1, queue="quorum")
    small.connection.take_output()
    small.send_method("basic.reject", 1, delivery_tag=1, requeue=True)
    small.send_method("basic.consume", 1, queue="quorum", consumer_tag="c")
    assert sent(small)["headers"].keys() == {"z"}


@pytest.mark.parametrize("way", ["get", "consume", "consume without ack"])
def test_a_client_with_small_frames_gets_no_headers(
    node: Node, small: FrameClient, way: str
) -> None:
    publish(FrameClient(node).open(1), of_size(100_000), "q")
    if way == "get":
        small.send_method("basic.get", 1, queue="q")
    else:
        small.send_method("basic.consume", 1, queue="q", consumer_tag="c", no_ack="no" in way)
    assert sent(small) == {"type": "t"}


def test_a_returned_message_fits(small: FrameClient) -> None:
    publish(small, of_size(ROOM + 8), "nowhere", mandatory=True)
    assert sent(small) == {"type": "t"}


def test_the_longest_properties_always_fit(node: Node, small: FrameClient) -> None:
    names = ["content_type", "content_encoding", "correlation_id", "reply_to", "message_id"]
    names += ["type", "app_id", "cluster_id"]
    texts = {name: name[0] * 255 for name in names}
    others = {"delivery_mode": 2, "priority": 9, "expiration": "9" * 9, "timestamp": 2**64 - 1}
    headers = {"z": "z" * 100_000}
    publish(
        FrameClient(node).open(1), encode_properties({**texts, **others, "headers": headers}), "q"
    )
    small.send_method("basic.get", 1, queue="q")
    assert sent(small) == {**texts, **others}


@given(st.integers(ROOM - 400, ROOM + 400), st.integers(0, 3000))
def test_every_size_fits(size: int, more: int) -> None:
    node = new_node()
    client = FrameClient(node).open(1, frame_max=likeness_of().frame_min)
    client.call("queue.declare", 1, queue="q", arguments=TO_DEAD)
    client.call("queue.declare", 1, queue="dead")
    dead_letter(FrameClient(node).open(1), of_size(size, mine="m" * min(more, size - 300)))
    client.send_method("basic.get", 1, queue="dead")
    assert sent(client)["type"] == "t"
