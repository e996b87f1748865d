"""A connection byte by byte: every stage, every kind of nonsense, and the right code for it."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from postage.broker.content import Properties
from postage.broker.faults import Faults
from postage.broker.methods import Call, encode
from postage.broker.node import Node
from postage.broker.parser import BODY, HEADER, HEARTBEAT, METHOD, PROTOCOL
from postage.broker.session import Stage
from postage.broker.timers import ManualTimers
from tests.support.talk import EVERYTHING, Talk, answered, body, frame, header, new_node

PUBLISH = encode(1, "basic.publish", routing_key="q")
"""Its class and method id are (60, 40)."""


@pytest.fixture
def talk(node: Node) -> Talk:
    """A connection with nothing said yet."""
    return Talk(node)


@pytest.fixture
def client(node: Node) -> Talk:
    """An open connection with channel 1."""
    return Talk(node).open(1)


def closed_with(talk: Talk, code: int, text: str = "") -> Call:
    """The last thing that came is connection.close with *code*."""
    last = talk.hear()[-1]
    assert (last.method.name, last.reply_code) == ("connection.close", code), last
    assert text.encode() in last.reply_text.encode()
    assert talk.stage in (Stage.CLOSING, Stage.CLOSED)
    assert not talk.session.channels
    return last


# --- the handshake


def test_the_way_to_an_open_connection(talk: Talk) -> None:
    start = talk.greet()
    assert (start.version_major, start.version_minor) == (0, 9)
    assert set(start.mechanisms.split()) == {b"PLAIN", b"AMQPLAIN"}
    assert start.server_properties["product"] == "postage-embedded"
    assert start.server_properties["capabilities"]["publisher_confirms"] is True
    (tune,) = talk.log_in()
    assert (tune.channel_max, tune.frame_max, tune.heartbeat) == (2047, 131072, 60)
    assert talk.tune() == []
    assert talk.ask("connection.open", virtual_host="/").method.name == "connection.open_ok"
    assert (talk.stage, talk.session.user) == (Stage.OPEN, "guest")


def test_the_handshake_in_single_bytes(talk: Talk) -> None:
    said = PROTOCOL + encode(
        0, "connection.start_ok", mechanism="PLAIN", response=b"\0guest\0guest", locale="en_US"
    )
    said += encode(0, "connection.tune_ok", frame_max=4096)
    said += encode(0, "connection.open", virtual_host="/")
    for at in range(len(said)):
        talk.send(said[at : at + 1])
    names = ["connection.start", "connection.tune", "connection.open_ok"]
    assert answered(talk.hear()) == names


@pytest.mark.parametrize(
    "greeting",
    [
        b"AMQP\x00\x01\x00\x00",
        b"AMQP\x03\x01\x00\x00",
        b"GET / HTTP/1.1\r\n\r\n",
        b"x",
        b"\x16\x03",
    ],
)
def test_another_protocol_is_told_ours(talk: Talk, greeting: bytes) -> None:
    talk.send(greeting)
    assert talk.session.take_output() == PROTOCOL
    assert talk.stage is Stage.CLOSED
    talk.send(b"more")
    assert talk.session.take_output() == b""


AMQPLAIN = b"\x05LOGINS\x00\x00\x00\x05guest\x08PASSWORDS\x00\x00\x00\x05guest"


@pytest.mark.parametrize(
    ("mechanism", "response"),
    [("PLAIN", b"\0guest\0guest"), ("PLAIN", b"guest\0guest\0guest"), ("AMQPLAIN", AMQPLAIN)],
)
def test_good_credentials(talk: Talk, mechanism: str, response: bytes) -> None:
    talk.greet()
    assert answered(talk.log_in(response, mechanism)) == ["connection.tune"]


BAD = [
    ("PLAIN", b"\0guest\0wrong"),
    ("PLAIN", b"\0nobody\0guest"),
    ("PLAIN", b"\0guest\0\xff\xfe"),
    ("PLAIN", b"guest"),
    ("PLAIN", b""),
    ("AMQPLAIN", AMQPLAIN[:16] + b"\x08PASSWORDt\x01"),
    ("AMQPLAIN", b""),
]


@pytest.mark.parametrize(("mechanism", "response"), BAD)
def test_bad_credentials(talk: Talk, mechanism: str, response: bytes) -> None:
    talk.greet()
    (close,) = talk.log_in(response, mechanism)
    assert (close.method.name, close.reply_code) == ("connection.close", 403)
    assert "ACCESS_REFUSED - Login was refused" in close.reply_text
    talk.say("connection.close_ok")
    assert talk.stage is Stage.CLOSED


@pytest.mark.parametrize(("mechanism", "response"), BAD)
def test_bad_credentials_of_a_client_that_expects_no_reason(
    talk: Talk, mechanism: str, response: bytes
) -> None:
    talk.greet()
    assert talk.log_in(response, mechanism, capabilities={}) == []
    assert talk.stage is Stage.CLOSED


def test_guest_comes_from_this_machine_alone(node: Node) -> None:
    talk = Talk(node, loopback=False)
    talk.greet()
    (close,) = talk.log_in()
    assert close.reply_code == 403


def test_other_users_come_from_anywhere() -> None:
    node = Node(ManualTimers(), users={"guest": "guest", "alice": "secret"})
    talk = Talk(node, loopback=False)
    talk.greet()
    assert answered(talk.log_in(b"\0alice\0secret")) == ["connection.tune"]


def test_a_mechanism_that_is_not_offered(talk: Talk) -> None:
    talk.greet()
    (close,) = talk.log_in(mechanism="EXTERNAL")
    assert close.reply_code == 503


def test_credentials_that_are_no_table(talk: Talk) -> None:
    talk.greet()
    (close,) = talk.log_in(b"\x05LOGINx", "AMQPLAIN")
    assert close.reply_code == 501


@pytest.mark.parametrize(("frame_max", "code"), [(4095, 530), (1, 530), (131073, 530)])
def test_a_frame_size_out_of_range(talk: Talk, frame_max: int, code: int) -> None:
    talk.greet()
    talk.log_in()
    (close,) = talk.tune(frame_max=frame_max)
    assert close.reply_code == code
    assert str(frame_max) in close.reply_text


@pytest.mark.parametrize(("asked", "agreed"), [(4096, 4096), (0, 131072), (131072, 131072)])
def test_a_frame_size_in_range_holds(node: Node, asked: int, agreed: int) -> None:
    client = Talk(node).open(1, frame_max=asked)
    client.ask("queue.declare", 1, queue="q")
    data = b"x" * (agreed - 8)
    client.publish("q", data)
    client.ask("basic.get", 1, queue="q", no_ack=True)
    assert client.bodies == [data]
    client.send(struct.pack(">BHI", BODY, 1, agreed + 1) + b"x")
    closed_with(client, 501)


@pytest.mark.parametrize(("asked", "agreed"), [(2, 2), (0, 2047), (9999, 2047)])
def test_the_number_of_channels_holds(node: Node, asked: int, agreed: int) -> None:
    client = Talk(node).open(channel_max=asked)
    for channel in range(1, agreed + 1):
        assert client.ask("channel.open", channel).method.name == "channel.open_ok"
    client.say("channel.open", agreed + 1)
    closed_with(client, 530, "reached the negotiated channel_max")


def test_an_unknown_virtual_host(talk: Talk) -> None:
    talk.greet()
    talk.log_in()
    talk.tune()
    talk.say("connection.open", virtual_host="nowhere")
    closed_with(talk, 530, "vhost nowhere not found")


STEPS: list[Any] = [
    lambda talk: talk.greet(),
    lambda talk: talk.log_in(),
    lambda talk: talk.tune(),
    lambda talk: talk.say("connection.open", virtual_host="/"),
]
CALLS = ["connection.start_ok", "connection.tune_ok", "connection.open"]


OTHERS = ["connection.start", "connection.blocked", "queue.declare"]
NOT_DUE = [(s, n) for s in (1, 2, 3, 4) for n in CALLS + OTHERS if n not in CALLS[s - 1 : s]]


@pytest.mark.parametrize(("steps", "name"), NOT_DUE)
def test_what_is_not_due_yet_or_any_more(talk: Talk, name: str, steps: int) -> None:
    for step in STEPS[:steps]:
        step(talk)
    talk.say(name)
    closed_with(talk, 504, "unexpected method in connection state")


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_channels_before_the_connection_is_open(talk: Talk, steps: int) -> None:
    for step in STEPS[:steps]:
        step(talk)
    talk.say("channel.open", 1)
    closed_with(talk, 505)


@pytest.mark.parametrize("steps", [1, 2, 3, 4])
def test_a_client_may_close_at_any_stage(talk: Talk, steps: int) -> None:
    for step in STEPS[:steps]:
        step(talk)
    talk.hear()
    assert talk.ask("connection.close", reply_code=200).method.name == "connection.close_ok"
    assert talk.stage is Stage.CLOSED


@pytest.mark.parametrize("steps", [0, 1, 2, 3])
def test_a_handshake_must_end_in_time(node: Node, timers: ManualTimers, steps: int) -> None:
    talk = Talk(node)
    for step in STEPS[:steps]:
        step(talk)
    timers.advance(node.limits.handshake - 0.1)
    assert talk.stage is not Stage.CLOSED
    timers.advance(0.2)
    assert talk.stage is Stage.CLOSED
    assert not node.sessions


def test_an_open_connection_has_all_the_time(client: Talk, timers: ManualTimers) -> None:
    timers.advance(3600)
    assert client.stage is Stage.OPEN


def test_a_new_secret(client: Talk) -> None:
    answer = client.ask("connection.update_secret", new_secret="s", reason="r")
    assert answer.method.name == "connection.update_secret_ok"


# --- channels


def test_frames_on_a_channel_that_is_not_open(node: Node) -> None:
    for data in (
        encode(5, "queue.declare"),
        encode(5, "basic.publish"),
        encode(5, "channel.close"),
    ):
        client = Talk(node).open(1)
        client.send(data)
        closed_with(client, 504, "expected 'channel.open'")


def test_content_on_a_channel_that_is_not_open(node: Node) -> None:
    for data in (header(5, 1), body(5, b"m"), header(0, 1), body(0, b"m")):
        client = Talk(node).open(1)
        client.send(data)
        closed_with(client, 505)


def test_a_closed_channel_is_not_open(client: Talk) -> None:
    assert client.ask("channel.close", 1).method.name == "channel.close_ok"
    client.say("basic.qos", 1)
    closed_with(client, 504)


def test_a_channel_opened_twice(client: Talk) -> None:
    client.say("channel.open", 1)
    closed_with(client, 504, "second 'channel.open' seen")


def test_a_closed_channel_can_be_opened_again(client: Talk) -> None:
    for _ in range(3):
        client.ask("channel.close", 1)
        assert client.ask("channel.open", 1).method.name == "channel.open_ok"


def test_after_its_error_a_channel_takes_nothing_until_it_is_closed(client: Talk) -> None:
    close = client.ask("queue.declare", 1, queue="none", passive=True)
    assert (close.method.name, close.reply_code) == ("channel.close", 404)
    assert (close.class_id, close.method_id) == (50, 10)
    client.say("queue.declare", 1, queue="q")
    client.publish("q")
    client.send(header(1, 3), body(1, b"xyz"))
    assert client.hear() == []
    assert "q" not in client.node.vhosts["/"].queues
    client.say("channel.close_ok", 1)
    assert client.hear() == []
    assert client.ask("channel.open", 1).method.name == "channel.open_ok"
    assert client.ask("queue.declare", 1, queue="q").method.name == "queue.declare_ok"


def test_two_closes_that_cross_each_other(client: Talk) -> None:
    client.ask("queue.declare", 1, queue="none", passive=True)
    assert client.ask("channel.close", 1).method.name == "channel.close_ok"
    client.say("channel.close_ok", 1)
    assert client.ask("channel.open", 1).method.name == "channel.open_ok"


def test_other_channels_do_not_notice_an_error(node: Node) -> None:
    client = Talk(node).open(1, 2)
    client.ask("queue.declare", 1, queue="none", passive=True)
    assert client.ask("queue.declare", 2, queue="q").method.name == "queue.declare_ok"


def test_long_texts_are_cut(client: Talk) -> None:
    close = client.ask("queue.declare", 1, queue="q" * 250, passive=True)
    assert len(close.reply_text) == 255
    assert close.reply_text.endswith("...")


def test_a_name_that_is_no_text(client: Talk) -> None:
    client.send(frame(METHOD, 1, struct.pack(">HHH", 50, 10, 0) + b"\x02\xff\xfe\x00\0\0\0\0"))
    closed_with(client, 501, "Malformed UTF-8")


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
def test_content_out_of_order(client: Talk, frames: list[bytes]) -> None:
    client.send(*frames)
    close = closed_with(client, 505)
    assert (close.class_id, close.method_id) == (60, 40)


@pytest.mark.parametrize(
    "frames", [[header(1, 1)], [body(1, b"m")], [PUBLISH, header(1, 0), body(1, b"")]]
)
def test_content_without_a_method(client: Talk, frames: list[bytes]) -> None:
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
def test_content_that_is_wrong_in_itself(client: Talk, frames: list[bytes]) -> None:
    client.send(*frames)
    closed_with(client, 501)
    assert client.node.memory == 0


def test_content_of_several_channels_may_be_mixed(node: Node) -> None:
    client = Talk(node).open(1, 2)
    client.ask("queue.declare", 1, queue="q")
    other = encode(2, "basic.publish", routing_key="q")
    client.send(PUBLISH, other, header(2, 4), header(1, 3), body(2, b"2"), body(1, b"11"))
    client.send(body(1, b"1"), encode(0, "connection.update_secret"), body(2, b""), body(2, b"222"))
    client.hear()
    for data in (b"111", b"2222"):
        client.ask("basic.get", 1, queue="q", no_ack=True)
        assert client.bodies.pop() == data


def test_a_message_over_the_limit_closes_the_channel() -> None:
    client = Talk(new_node(message_max=1000)).open(1, 2)
    client.ask("queue.declare", 2, queue="q")
    client.publish("q", b"x" * 1000, channel=2)
    client.publish("q", b"x" * 1001)
    (close,) = client.hear()
    assert (close.method.name, close.reply_code) == ("channel.close", 406)
    assert "message size 1001 is larger than configured max size 1000" in close.reply_text
    assert (close.class_id, close.method_id) == (60, 40)
    assert client.ask("basic.get", 2, queue="q").method.name == "basic.get_ok"


def test_what_is_unfinished_counts_and_is_limited() -> None:
    node = new_node(message_max=1000)
    client = Talk(node).open(*range(1, 8))
    for channel in range(1, 5):
        call = encode(channel, "basic.publish", routing_key="q")
        client.send(call, header(channel, 1000), body(channel, b"x" * 999))
    assert (node.memory, client.hear()) == (4 * 999, [])
    client.send(body(1, b"x"))
    assert node.memory == 3 * 999
    for channel in (5, 6):
        call = encode(channel, "basic.publish", routing_key="q")
        client.send(call, header(channel, 1000), body(channel, b"x" * 999))
    closed_with(client, 506)
    assert node.memory == 0


def test_empty_body_frames_cost_nothing(client: Talk) -> None:
    client.ask("queue.declare", 1, queue="q")
    client.send(PUBLISH, header(1, 1), *[body(1, b"")] * 1000, body(1, b"m"))
    client.ask("basic.get", 1, queue="q")
    assert client.bodies == [b"m"]


# --- frames that are none


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
def test_a_stream_that_cannot_be_followed_ends_at_once(client: Talk, data: bytes) -> None:
    client.send(data)
    closed_with(client, 501)
    assert client.stage is Stage.CLOSED


def test_heartbeats_have_no_channel_and_no_payload(node: Node) -> None:
    for data, code in ((frame(HEARTBEAT, 1, b""), 505), (frame(HEARTBEAT, 0, b"x"), 501)):
        client = Talk(node).open(1)
        client.send(data)
        closed_with(client, code)


@pytest.mark.parametrize("channel", [0, 1])
@pytest.mark.parametrize("ids", [(99, 1), (50, 99), (10, 99), (0, 0)])
def test_an_unknown_method(client: Talk, channel: int, ids: tuple[int, int]) -> None:
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
def test_a_method_that_cannot_be_read(client: Talk, payload: bytes) -> None:
    client.send(frame(METHOD, 1, payload))
    closed_with(client, 501)


def test_tables_nest_only_so_deep(node: Node) -> None:
    table: dict[str, Any] = {}
    for _ in range(16):
        table = {"x": table}
    deep = Talk(node).open(1)
    assert deep.ask("queue.declare", 1, queue="q", arguments=table).method.name[-2:] == "ok"
    deeper = Talk(node).open(1)
    deeper.say("queue.declare", 1, queue="r", arguments={"x": [table]})
    closed_with(deeper, 501, "nest deeper")


@pytest.mark.parametrize(
    "name", ["queue.declare_ok", "basic.deliver", "connection.close", "channel.open_ok"]
)
def test_methods_that_are_not_for_clients_to_call(client: Talk, name: str) -> None:
    client.say(name, 1)
    closed_with(client, 503, "unimplemented method")


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("channel.flow", {"active": False}),
        ("basic.qos", {"prefetch_size": 1}),
        ("basic.recover", {"requeue": False}),
    ],
)
def test_what_is_not_implemented(client: Talk, name: str, arguments: dict[str, Any]) -> None:
    client.say(name, 1, **arguments)
    closed_with(client, 540)


# --- heartbeats


def test_heartbeats_are_sent_where_nothing_else_is(node: Node, timers: ManualTimers) -> None:
    client = Talk(node).open(1, heartbeat=10)
    for _ in range(8):
        client.send(frame(HEARTBEAT, 0, b""))
        timers.advance(5)
    client.hear()
    assert client.heartbeats in (7, 8)
    assert client.stage is Stage.OPEN


def test_other_frames_are_as_good_as_heartbeats(node: Node, timers: ManualTimers) -> None:
    client = Talk(node).open(1, heartbeat=10)
    for _ in range(8):
        client.ask("basic.qos", 1)
        timers.advance(5)
    assert (client.stage, client.heartbeats) == (Stage.OPEN, 0)


def test_a_client_that_is_silent_for_two_intervals_is_dropped(
    node: Node, timers: ManualTimers
) -> None:
    client = Talk(node).open(1, heartbeat=10)
    client.ask("queue.declare", 1, queue="mine", exclusive=True)
    timers.advance(19)
    assert client.stage is Stage.OPEN
    timers.advance(6)
    assert client.stage is Stage.CLOSED
    assert not node.vhosts["/"].queues


def test_without_heartbeats_silence_is_fine(node: Node, timers: ManualTimers) -> None:
    client = Talk(node).open(1, heartbeat=0)
    timers.advance(10_000)
    client.hear()
    assert (client.stage, client.heartbeats) == (Stage.OPEN, 0)


def test_a_blocked_client_cannot_be_heard_and_stays(node: Node, timers: ManualTimers) -> None:
    client = Talk(node).open(1, heartbeat=10)
    client.publish("nowhere")
    Faults(node).block()
    timers.advance(1000)
    assert client.stage is Stage.OPEN
    Faults(node).unblock()
    timers.advance(30)
    assert client.stage is Stage.CLOSED


# --- the end


def test_the_client_closes(client: Talk) -> None:
    client.ask("queue.declare", 1, queue="mine", exclusive=True)
    client.ask("queue.declare", 1, queue="q")
    client.publish("q")
    client.ask("basic.get", 1, queue="q")
    assert client.ask("connection.close", reply_code=200).method.name == "connection.close_ok"
    assert client.stage is Stage.CLOSED
    assert list(client.node.vhosts["/"].queues) == ["q"]
    assert len(client.node.vhosts["/"].queues["q"]) == 1
    assert not client.node.sessions


def test_confirms_come_before_the_end(client: Talk) -> None:
    client.ask("confirm.select", 1)
    call = encode(1, "basic.publish", routing_key="nowhere")
    client.send(call, header(1, 0), encode(0, "connection.close"))
    assert answered(client.hear()) == ["basic.ack", "connection.close_ok"]


def test_after_our_close_only_the_end_counts(client: Talk) -> None:
    client.say("queue.declare", 9)
    closed_with(client, 504)
    client.say("queue.declare", 1, queue="q")
    client.send(header(1, 1), body(1, b"x"))
    client.say("connection.tune_ok")
    assert (client.hear(), client.stage) == ([], Stage.CLOSING)
    client.say("connection.close_ok")
    assert client.stage is Stage.CLOSED


def test_a_client_that_does_not_answer_our_close(client: Talk, timers: ManualTimers) -> None:
    client.say("queue.declare", 9)
    timers.advance(client.node.limits.handshake + 1)
    assert client.stage is Stage.CLOSED


def test_two_closes_of_the_connection_that_cross(client: Talk) -> None:
    client.say("queue.declare", 9)
    client.say("connection.close", reply_code=200)
    assert answered(client.hear()) == ["connection.close", "connection.close_ok"]
    assert client.stage is Stage.CLOSED


def test_what_comes_after_the_end_is_ignored(client: Talk) -> None:
    client.say("connection.close")
    client.hear()
    client.publish("q")
    client.send(b"\xff" * 20)
    assert client.hear() == []


def test_the_broker_shuts_down(client: Talk) -> None:
    client.session.shut_down(320, "the broker shuts down")
    closed_with(client, 320, "CONNECTION_FORCED - the broker shuts down")


def test_what_a_lost_client_held_goes_to_others_not_to_itself(node: Node) -> None:
    client, other = Talk(node).open(1, 2), Talk(node).open(1)
    client.ask("queue.declare", 1, queue="q")
    for channel in (1, 2):
        client.ask("basic.consume", channel, queue="q", consumer_tag="c")
    client.publish("q", b"one")
    client.publish("q", b"two")
    client.hear()
    client.session.drop()
    assert client.session.take_output() == b""
    assert len(node.vhosts["/"].queues["q"]) == 2
    for data in (b"one", b"two"):
        answer = other.ask("basic.get", 1, queue="q")
        assert (answer.redelivered, other.bodies.pop()) == (True, data)


# --- alarms and limits


def test_publishers_are_told_that_they_are_blocked(node: Node) -> None:
    publisher, reader = Talk(node).open(1), Talk(node).open(1)
    publisher.publish("nowhere")
    Faults(node).block("a test")
    (blocked,) = publisher.hear()
    assert (blocked.method.name, blocked.reason) == ("connection.blocked", "a test")
    assert publisher.session.is_held_back
    assert reader.hear() == []
    assert not reader.session.is_held_back
    Faults(node).unblock()
    assert answered(publisher.hear()) == ["connection.unblocked"]
    assert not publisher.session.is_held_back


def test_who_begins_to_publish_is_blocked_then(node: Node) -> None:
    Faults(node).block("a test")
    client = Talk(node).open(1)
    client.ask("queue.declare", 1, queue="q")
    client.publish("q")
    assert answered(client.hear()) == ["connection.blocked"]
    assert len(node.vhosts["/"].queues["q"]) == 1  # blocked, not refused


def test_clients_that_know_no_blocking_are_held_back_all_the_same(node: Node) -> None:
    client = Talk(node).open(1, capabilities={})
    client.publish("nowhere")
    Faults(node).block("a test")
    assert (client.hear(), client.session.is_held_back) == ([], True)
    outputs = client.outputs
    Faults(node).unblock()
    assert client.outputs == outputs + 1, "whoever reads for it must learn that it may go on"


def test_a_connection_that_is_closing_hears_no_more_of_it(node: Node) -> None:
    client = Talk(node).open(1)
    client.publish("nowhere")
    client.say("queue.declare", 9)
    Faults(node).block("a test")
    assert answered(client.hear()) == ["connection.close"]
    assert not client.session.is_held_back


def test_memory_blocks_and_a_purge_unblocks() -> None:
    node = new_node(memory=10_000)
    publisher, other = Talk(node).open(1), Talk(node).open(1)
    publisher.ask("queue.declare", 1, queue="q")
    for _ in range(10):
        publisher.publish("q", b"x" * 800)
    assert answered(publisher.hear()) == ["connection.blocked"]
    assert other.ask("queue.purge", 1, queue="q").message_count == 10
    assert answered(publisher.hear()) == ["connection.unblocked"]
    assert node.memory == 0


def test_what_is_not_acknowledged_is_in_memory_still() -> None:
    node = new_node(memory=10_000)
    publisher, consumer = Talk(node).open(1), Talk(node).open(1)
    publisher.ask("queue.declare", 1, queue="q")
    consumer.ask("basic.consume", 1, queue="q", consumer_tag="c")
    for _ in range(10):
        publisher.publish("q", b"x" * 800)
    assert len(consumer.hear()) == 10
    assert answered(publisher.hear()) == ["connection.blocked"]
    consumer.say("basic.ack", 1, delivery_tag=9, multiple=True)
    assert answered(publisher.hear()) == ["connection.unblocked"]
    consumer.say("basic.nack", 1, delivery_tag=10, requeue=True)
    assert node.memory > 0
    consumer.say("basic.reject", 1, delivery_tag=11)
    assert node.memory == 0


def test_the_limit_of_connections() -> None:
    node = new_node(connections=2)
    for _ in range(2):
        Talk(node).open()
    talk = Talk(node)
    for step in STEPS:
        step(talk)
    closed_with(talk, 530, "node connection limit (2) is reached")
    talk.say("connection.close_ok")
    next(iter(node.sessions)).drop()
    Talk(node).open()


def test_the_limit_of_queues() -> None:
    client = Talk(new_node(queues=2)).open(1)
    for name in ("a", "b"):
        client.ask("queue.declare", 1, queue=name)
    close = client.ask("queue.declare", 1, queue="c")
    assert (close.method.name, close.reply_code) == ("channel.close", 406)
    client.say("channel.close_ok", 1)
    client.ask("channel.open", 1)
    assert client.ask("queue.declare", 1, queue="a").method.name == "queue.declare_ok"


def test_deliveries_pause_while_much_is_unsent(node: Node) -> None:
    client = Talk(node).open(1)
    client.ask("queue.declare", 1, queue="q")
    for number in range(50):
        client.publish("q", bytes([number]) * 30_000)
    client.say("basic.consume", 1, queue="q", consumer_tag="c", no_ack=True)
    rounds = 0
    while len(node.vhosts["/"].queues["q"]):
        rounds += 1
        assert len(client.session.take_output()) < 400_000
        client.session.resume()
    assert rounds >= 4


def test_who_asks_and_does_not_read_is_not_read_from() -> None:
    client = Talk(new_node(unsent=1000)).open(1)
    client.ask("queue.declare", 1, queue="q")
    client.publish("q", b"x" * 300_000)
    client.say("basic.get", 1, queue="q")
    assert not client.session.is_held_back, "one large answer is nobody's fault"
    for _ in range(100):  # pipelined
        client.say("basic.qos", 1)
    assert client.session.is_held_back
    client.hear()
    client.session.resume()
    assert not client.session.is_held_back


def test_capabilities_that_are_none(node: Node) -> None:
    talk = Talk(node)
    talk.greet()
    talk.say(
        "connection.start_ok",
        client_properties={"capabilities": ["x"], "connection_name": 5},
        mechanism="PLAIN",
        response=b"\0guest\0guest",
    )
    assert answered(talk.hear()) == ["connection.tune"]
    assert talk.session.name == "5"
    assert not any(talk.session.capability(name) for name in EVERYTHING)


def test_dead_letters_come_after_all_copies(client: Talk) -> None:
    """As if queues were processes of their own: a letter must not overtake what caused it."""
    arguments = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "q"}
    client.say("queue.declare", 1, queue="dying", arguments=arguments)
    client.say("queue.declare", 1, queue="q")
    for queue in ("dying", "q"):
        client.say("queue.bind", 1, queue=queue, exchange="amq.fanout")
    expired = Properties({"expiration": "0"}).encode()
    for _ in range(2):  # the second time by the short way
        head = frame(HEADER, 1, struct.pack(">HHQ", 60, 0, 1) + expired)
        client.send(encode(1, "basic.publish", exchange="amq.fanout"), head, body(1, b"m"))
        assert len(client.node.vhosts["/"].queues["q"]) == 1
        client.say("queue.purge", 1, queue="q")
