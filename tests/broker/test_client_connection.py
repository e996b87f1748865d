"""An open connection: its channels, its heartbeats, and how it ends."""

from __future__ import annotations

import struct

import pytest

from postage.broker.core.clock import ManualTimers
from postage.broker.core.likeness import likeness_of
from postage.broker.faults import Faults
from postage.broker.session.handshake import Stage
from postage.broker.session.node import Node
from postage.broker.wire.methods import encode
from postage.protocol import HEARTBEAT, METHOD
from tests.support.frame_client import FrameClient, body, closed_with, frame, header, names_of

# --- channels


def test_frames_on_a_channel_that_is_not_open(node: Node) -> None:
    for data in (
        encode(5, "queue.declare"),
        encode(5, "basic.publish"),
        encode(5, "channel.close"),
    ):
        client = FrameClient(node).open(1)
        client.send(data)
        closed_with(client, 504, "expected 'channel.open'")


def test_content_on_a_channel_that_is_not_open(node: Node) -> None:
    for data in (header(5, 1), body(5, b"m"), header(0, 1), body(0, b"m")):
        client = FrameClient(node).open(1)
        client.send(data)
        closed_with(client, 505)


def test_a_closed_channel_is_not_open(client: FrameClient) -> None:
    assert client.call("channel.close", 1).method.name == "channel.close_ok"
    client.send_method("basic.qos", 1)
    closed_with(client, 504)


def test_a_channel_opened_twice(client: FrameClient) -> None:
    client.send_method("channel.open", 1)
    closed_with(client, 504, "second 'channel.open' seen")


def test_a_closed_channel_can_be_opened_again(client: FrameClient) -> None:
    for _ in range(3):
        client.call("channel.close", 1)
        assert client.call("channel.open", 1).method.name == "channel.open_ok"


def test_after_its_error_a_channel_takes_nothing_until_closed(client: FrameClient) -> None:
    close = client.call("queue.declare", 1, queue="none", passive=True)
    assert (close.method.name, close.reply_code) == ("channel.close", 404)
    assert (close.class_id, close.method_id) == (50, 10)
    client.send_method("queue.declare", 1, queue="q")
    client.publish("q")
    client.send(header(1, 3), body(1, b"xyz"))
    assert client.receive() == []
    assert "q" not in client.node.vhosts["/"].queues
    client.send_method("channel.close_ok", 1)
    assert client.receive() == []
    assert client.call("channel.open", 1).method.name == "channel.open_ok"
    assert client.call("queue.declare", 1, queue="q").method.name == "queue.declare_ok"


def test_two_closes_that_cross_each_other(client: FrameClient) -> None:
    client.call("queue.declare", 1, queue="none", passive=True)
    assert client.call("channel.close", 1).method.name == "channel.close_ok"
    client.send_method("channel.close_ok", 1)
    assert client.call("channel.open", 1).method.name == "channel.open_ok"


def test_other_channels_do_not_notice_an_error(node: Node) -> None:
    client = FrameClient(node).open(1, 2)
    client.call("queue.declare", 1, queue="none", passive=True)
    assert client.call("queue.declare", 2, queue="q").method.name == "queue.declare_ok"


def test_long_texts_are_cut(client: FrameClient) -> None:
    close = client.call("queue.declare", 1, queue="q" * 250, passive=True)
    assert len(close.reply_text) == 255
    assert close.reply_text.endswith("...")


def test_a_name_that_is_no_text(client: FrameClient) -> None:
    client.send(frame(METHOD, 1, struct.pack(">HHH", 50, 10, 0) + b"\x02\xff\xfe\x00\0\0\0\0"))
    closed_with(client, 501, "Malformed UTF-8")


# --- heartbeats


def test_heartbeats_are_sent_where_nothing_else_is(node: Node, timers: ManualTimers) -> None:
    client = FrameClient(node).open(1, heartbeat=10)
    for _ in range(8):
        client.send(frame(HEARTBEAT, 0, b""))
        timers.advance(5)
    client.receive()
    assert client.heartbeats in (7, 8)
    assert client.stage is Stage.OPEN


def test_other_frames_are_as_good_as_heartbeats(node: Node, timers: ManualTimers) -> None:
    client = FrameClient(node).open(1, heartbeat=10)
    for _ in range(8):
        client.call("basic.qos", 1)
        timers.advance(5)
    assert (client.stage, client.heartbeats) == (Stage.OPEN, 0)


def test_a_client_that_is_silent_for_two_intervals_is_dropped(
    node: Node, timers: ManualTimers
) -> None:
    client = FrameClient(node).open(1, heartbeat=10)
    client.call("queue.declare", 1, queue="mine", exclusive=True)
    timers.advance(19)
    assert client.stage is Stage.OPEN
    timers.advance(6)
    assert client.stage is Stage.CLOSED
    assert not node.vhosts["/"].queues


def test_without_heartbeats_silence_is_fine(node: Node, timers: ManualTimers) -> None:
    client = FrameClient(node).open(1, heartbeat=0)
    timers.advance(10_000)
    client.receive()
    assert (client.stage, client.heartbeats) == (Stage.OPEN, 0)


def test_a_blocked_client_cannot_be_heard_and_stays(node: Node, timers: ManualTimers) -> None:
    client = FrameClient(node).open(1, heartbeat=10)
    client.publish("nowhere")
    Faults(node).block()
    timers.advance(1000)
    assert client.stage is Stage.OPEN
    Faults(node).unblock()
    timers.advance(30)
    assert client.stage is Stage.CLOSED


# --- the end


def test_the_client_closes(client: FrameClient) -> None:
    client.call("queue.declare", 1, queue="mine", exclusive=True)
    client.call("queue.declare", 1, queue="q")
    client.publish("q")
    client.call("basic.get", 1, queue="q")
    assert client.call("connection.close", reply_code=200).method.name == "connection.close_ok"
    assert client.stage is Stage.CLOSED
    assert list(client.node.vhosts["/"].queues) == ["q"]
    assert len(client.node.vhosts["/"].queues["q"]) == 1
    assert not client.node.connections


def test_confirms_come_before_the_end(client: FrameClient) -> None:
    client.call("confirm.select", 1)
    call = encode(1, "basic.publish", routing_key="nowhere")
    client.send(call, header(1, 0), encode(0, "connection.close"))
    assert names_of(client.receive()) == ["basic.ack", "connection.close_ok"]


def test_after_our_close_only_the_end_counts(client: FrameClient) -> None:
    client.send_method("queue.declare", 9)
    closed_with(client, 504)
    client.send_method("queue.declare", 1, queue="q")
    client.send(header(1, 1), body(1, b"x"))
    client.send_method("connection.tune_ok")
    assert (client.receive(), client.stage) == ([], Stage.CLOSING)
    client.send_method("connection.close_ok")
    assert client.stage is Stage.CLOSED


def test_a_client_that_does_not_answer_our_close(client: FrameClient, timers: ManualTimers) -> None:
    client.send_method("queue.declare", 9)
    timers.advance(client.node.limits.handshake + 1)
    assert client.stage is Stage.CLOSED


def test_two_closes_of_the_connection_that_cross(client: FrameClient) -> None:
    client.send_method("queue.declare", 9)
    client.send_method("connection.close", reply_code=200)
    assert names_of(client.receive()) == ["connection.close", "connection.close_ok"]
    assert client.stage is Stage.CLOSED


def test_input_after_the_end_is_ignored(client: FrameClient) -> None:
    client.send_method("connection.close")
    client.receive()
    client.publish("q")
    client.send(b"\xff" * 20)
    assert client.receive() == []


def test_the_broker_shuts_down(client: FrameClient) -> None:
    client.connection.stop(320, "the broker shuts down")
    closed_with(client, 320, "CONNECTION_FORCED - the broker shuts down")


def test_messages_of_a_lost_client_go_to_others(node: Node) -> None:
    client, other = FrameClient(node).open(1, 2), FrameClient(node).open(1)
    client.call("queue.declare", 1, queue="q")
    for channel in (1, 2):
        client.call("basic.consume", channel, queue="q", consumer_tag="c")
    client.publish("q", b"one")
    client.publish("q", b"two")
    client.receive()
    client.connection.close()
    assert client.connection.take_output() == b""
    assert len(node.vhosts["/"].queues["q"]) == 2
    for data in (b"one", b"two"):
        answer = other.call("basic.get", 1, queue="q")
        assert (answer.redelivered, other.bodies.pop()) == (True, data)


@pytest.mark.parametrize(("like", "found"), [("4.3", False), ("3.10", True)])
@pytest.mark.parametrize("mandatory", [False, True])
def test_a_queue_that_is_declared_before_the_commit(
    like: str, found: bool, mandatory: bool
) -> None:
    client = FrameClient(Node(ManualTimers(), likeness=likeness_of(like))).open(1)
    client.call("tx.select", 1)
    for key in ("late", "never"):
        client.publish(key, mandatory=mandatory)
    client.call("queue.declare", 1, queue="late")
    client.send_method("tx.commit", 1)
    returned = ["basic.return"] * (2 - found if mandatory else 0)
    assert names_of(client.receive()) == [*returned, "tx.commit_ok"]
    assert client.call("queue.declare", 1, queue="late", passive=True).message_count == found
