"""Header and body frames in the right and the wrong order, and malformed frames."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from postage.broker.session.handshake import Stage
from postage.broker.session.node import Node
from postage.broker.wire.methods import encode
from postage.protocol import BODY, HEADER, HEARTBEAT, METHOD
from tests.support.frame_client import FrameClient, body, closed_with, frame, header, new_node

PUBLISH = encode(1, "basic.publish", routing_key="q")
"""Its class and method id are (60, 40)."""


# --- content


@pytest.mark.parametrize(
    "frames",
    [
        [PUBLISH, encode(1, "basic.qos")],
        [PUBLISH, encode(1, "channel.close")],
        [PUBLISH, PUBLISH],
        [PUBLISH, body(1, b"m")],
        [PUBLISH, header(1, 1), header(1, 1)],
        [PUBLISH, header(1, 1), encode(1, "basic.qos")],
        [PUBLISH, header(1, 1, class_id=50)],
        [PUBLISH, header(1, 1, weight=1)],
    ],
)
def test_content_out_of_order(client: FrameClient, frames: list[bytes]) -> None:
    client.send(*frames)
    close = closed_with(client, 505)
    assert (close.class_id, close.method_id) == (60, 40)


@pytest.mark.parametrize(
    "frames", [[header(1, 1)], [body(1, b"m")], [PUBLISH, header(1, 0), body(1, b"")]]
)
def test_content_without_a_method(client: FrameClient, frames: list[bytes]) -> None:
    client.send(*frames)
    closed_with(client, 505, "expected method frame")


@pytest.mark.parametrize(
    "frames",
    [
        [PUBLISH, header(1, 3), body(1, b"long")],
        [PUBLISH, header(1, 3), body(1, b"ab"), body(1, b"cd")],
        [PUBLISH, frame(HEADER, 1, b"\0\x3c\0\0")],
        [PUBLISH, frame(HEADER, 1, struct.pack(">HHQH", 60, 0, 0, 1))],
    ],
)
def test_content_that_is_wrong_in_itself(client: FrameClient, frames: list[bytes]) -> None:
    client.send(*frames)
    closed_with(client, 501)
    assert client.node.memory == 0


def test_content_of_several_channels_may_be_mixed(node: Node) -> None:
    client = FrameClient(node).open(1, 2)
    client.call("queue.declare", 1, queue="q")
    other = encode(2, "basic.publish", routing_key="q")
    client.send(PUBLISH, other, header(2, 4), header(1, 3), body(2, b"2"), body(1, b"11"))
    client.send(body(1, b"1"), encode(0, "connection.update_secret"), body(2, b""), body(2, b"222"))
    client.receive()
    for data in (b"111", b"2222"):
        client.call("basic.get", 1, queue="q", no_ack=True)
        assert client.bodies.pop() == data


def test_a_message_over_the_limit_closes_the_channel() -> None:
    client = FrameClient(new_node(message_max=1000)).open(1, 2)
    client.call("queue.declare", 2, queue="q")
    client.publish("q", b"x" * 1000, channel=2)
    client.publish("q", b"x" * 1001)
    (close,) = client.receive()
    assert (close.method.name, close.reply_code) == ("channel.close", 406)
    assert "message size 1001 is larger than configured max size 1000" in close.reply_text
    assert (close.class_id, close.method_id) == (60, 40)
    assert client.call("basic.get", 2, queue="q").method.name == "basic.get_ok"


def test_incomplete_content_is_charged_and_limited() -> None:
    node = new_node(message_max=1000)
    client = FrameClient(node).open(*range(1, 8))
    for channel in range(1, 5):
        call = encode(channel, "basic.publish", routing_key="q")
        client.send(call, header(channel, 1000), body(channel, b"x" * 999))
    assert (node.memory, client.receive()) == (4 * 999, [])
    client.send(body(1, b"x"))
    assert node.memory == 3 * 999
    for channel in (5, 6):
        call = encode(channel, "basic.publish", routing_key="q")
        client.send(call, header(channel, 1000), body(channel, b"x" * 999))
    closed_with(client, 506)
    assert node.memory == 0


def test_empty_body_frames_cost_nothing(client: FrameClient) -> None:
    client.call("queue.declare", 1, queue="q")
    client.send(PUBLISH, header(1, 1), *[body(1, b"")] * 1000, body(1, b"m"))
    client.call("basic.get", 1, queue="q")
    assert client.bodies == [b"m"]


# --- malformed frames


@pytest.mark.parametrize(
    "data",
    [
        frame(METHOD, 1, encode(1, "basic.qos")[7:-1], end=b"\x00"),
        frame(HEARTBEAT, 0, b"", end=b"\xcd"),
        frame(4, 1, b""),
        frame(0, 0, b""),
        b"\xff" * 8,
        b"GET / HTTP/1.1\r\n",
        struct.pack(">BHI", BODY, 1, 131073) + b"x",
        struct.pack(">BHI", METHOD, 0, 0xFFFFFFFF) + b"x",
    ],
)
def test_a_stream_that_cannot_be_followed_ends_at_once(client: FrameClient, data: bytes) -> None:
    client.send(data)
    closed_with(client, 501)
    assert client.stage is Stage.CLOSED


def test_heartbeats_have_no_channel_and_no_payload(node: Node) -> None:
    for data, code in ((frame(HEARTBEAT, 1, b""), 505), (frame(HEARTBEAT, 0, b"x"), 501)):
        client = FrameClient(node).open(1)
        client.send(data)
        closed_with(client, code)


@pytest.mark.parametrize("channel", [0, 1])
@pytest.mark.parametrize("ids", [(99, 1), (50, 99), (10, 99), (0, 0)])
def test_an_unknown_method(client: FrameClient, channel: int, ids: tuple[int, int]) -> None:
    client.send(frame(METHOD, channel, struct.pack(">HH", *ids)))
    closed_with(client, 503, "is unknown")


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\x00",
        struct.pack(">HH", 50, 10),
        struct.pack(">HHHB", 50, 10, 0, 9) + b"short",
        struct.pack(">HHHBBI", 50, 10, 0, 0, 0, 4) + b"\x01aZ\0",
        struct.pack(">HHHBBI", 50, 10, 0, 0, 0, 99),
        encode(1, "basic.qos")[7:-1] + b"more",
        struct.pack(">HHH", 60, 40, 0) + b"\x00\x05ab",
        struct.pack(">HH", 60, 80) + b"\x00",
    ],
)
def test_a_method_that_cannot_be_read(client: FrameClient, payload: bytes) -> None:
    client.send(frame(METHOD, 1, payload))
    closed_with(client, 501)


def test_tables_nest_only_so_deep(node: Node) -> None:
    table: dict[str, Any] = {}
    for _ in range(16):
        table = {"x": table}
    deep = FrameClient(node).open(1)
    assert deep.call("queue.declare", 1, queue="q", arguments=table).method.name[-2:] == "ok"
    deeper = FrameClient(node).open(1)
    deeper.send_method("queue.declare", 1, queue="r", arguments={"x": [table]})
    closed_with(deeper, 501, "nest deeper")


@pytest.mark.parametrize(
    "name", ["queue.declare_ok", "basic.deliver", "connection.close", "channel.open_ok"]
)
def test_methods_that_are_not_for_clients_to_call(client: FrameClient, name: str) -> None:
    client.send_method(name, 1)
    closed_with(client, 503, "unimplemented method")


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("channel.flow", {"active": False}),
        ("basic.qos", {"prefetch_size": 1}),
        ("basic.recover", {"requeue": False}),
    ],
)
def test_unimplemented_features_are_refused(
    client: FrameClient, name: str, arguments: dict[str, Any]
) -> None:
    client.send_method(name, 1, **arguments)
    closed_with(client, 540)
