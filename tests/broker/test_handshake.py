"""The handshake: every stage, every login, and methods that come too early or too late."""

from __future__ import annotations

import struct

import pytest

from postage.broker.core.clock import ManualTimers
from postage.broker.session.handshake import TRANSITIONS, Stage, StageEvent, next_stage
from postage.broker.session.node import Node
from postage.broker.wire.framing import PROTOCOL
from postage.broker.wire.methods import encode
from postage.protocol import BODY
from tests.support.frame_client import HANDSHAKE, FrameClient, closed_with, names_of


def test_the_way_to_an_open_connection(new_client: FrameClient) -> None:
    start = new_client.start()
    assert (start.version_major, start.version_minor) == (0, 9)
    assert set(start.mechanisms.split()) == {b"PLAIN", b"AMQPLAIN"}
    assert start.server_properties["product"] == "postage-embedded"
    assert start.server_properties["capabilities"]["publisher_confirms"] is True
    (tune,) = new_client.log_in()
    assert (tune.channel_max, tune.frame_max, tune.heartbeat) == (2047, 131072, 60)
    assert new_client.tune() == []
    assert new_client.call("connection.open", virtual_host="/").method.name == "connection.open_ok"
    assert (new_client.stage, new_client.connection.user) == (Stage.OPEN, "guest")


def test_the_handshake_in_single_bytes(new_client: FrameClient) -> None:
    said = PROTOCOL + encode(
        0, "connection.start_ok", mechanism="PLAIN", response=b"\0guest\0guest", locale="en_US"
    )
    said += encode(0, "connection.tune_ok", frame_max=8192)
    said += encode(0, "connection.open", virtual_host="/")
    for at in range(len(said)):
        new_client.send(said[at : at + 1])
    names = ["connection.start", "connection.tune", "connection.open_ok"]
    assert names_of(new_client.receive()) == names


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
def test_another_protocol_is_told_ours(new_client: FrameClient, greeting: bytes) -> None:
    new_client.send(greeting)
    assert new_client.connection.take_output() == PROTOCOL
    assert new_client.stage is Stage.CLOSED
    new_client.send(b"more")
    assert new_client.connection.take_output() == b""


AMQPLAIN = b"\x05LOGINS\x00\x00\x00\x05guest\x08PASSWORDS\x00\x00\x00\x05guest"


@pytest.mark.parametrize(
    ("mechanism", "response"),
    [("PLAIN", b"\0guest\0guest"), ("PLAIN", b"guest\0guest\0guest"), ("AMQPLAIN", AMQPLAIN)],
)
def test_good_credentials(new_client: FrameClient, mechanism: str, response: bytes) -> None:
    new_client.start()
    assert names_of(new_client.log_in(response, mechanism)) == ["connection.tune"]


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
def test_bad_credentials(new_client: FrameClient, mechanism: str, response: bytes) -> None:
    new_client.start()
    (close,) = new_client.log_in(response, mechanism)
    assert (close.method.name, close.reply_code) == ("connection.close", 403)
    assert "ACCESS_REFUSED - Login was refused" in close.reply_text
    new_client.send_method("connection.close_ok")
    assert new_client.stage is Stage.CLOSED


@pytest.mark.parametrize(("mechanism", "response"), BAD)
def test_bad_credentials_of_a_client_that_expects_no_reason(
    new_client: FrameClient, mechanism: str, response: bytes
) -> None:
    new_client.start()
    assert new_client.log_in(response, mechanism, capabilities={}) == []
    assert new_client.stage is Stage.CLOSED


def test_guest_comes_from_this_machine_alone(node: Node) -> None:
    new_client = FrameClient(node, "192.0.2.1")
    new_client.start()
    (close,) = new_client.log_in()
    assert close.reply_code == 403


def test_other_users_come_from_anywhere() -> None:
    node = Node(ManualTimers(), users={"guest": "guest", "alice": "secret"})
    new_client = FrameClient(node, "192.0.2.1")
    new_client.start()
    assert names_of(new_client.log_in(b"\0alice\0secret")) == ["connection.tune"]


def test_a_mechanism_that_is_not_offered(new_client: FrameClient) -> None:
    new_client.start()
    (close,) = new_client.log_in(mechanism="EXTERNAL")
    assert close.reply_code == 503


def test_credentials_that_are_no_table(new_client: FrameClient) -> None:
    new_client.start()
    (close,) = new_client.log_in(b"\x05LOGINx", "AMQPLAIN")
    assert close.reply_code == 501


@pytest.mark.parametrize(("frame_max", "code"), [(8191, 530), (4096, 530), (1, 530), (131073, 530)])
def test_a_frame_size_out_of_range(new_client: FrameClient, frame_max: int, code: int) -> None:
    new_client.start()
    new_client.log_in()
    (close,) = new_client.tune(frame_max=frame_max)
    assert close.reply_code == code
    assert str(frame_max) in close.reply_text


@pytest.mark.parametrize(("asked", "agreed"), [(8192, 8192), (0, 131072), (131072, 131072)])
def test_a_frame_size_in_range_holds(node: Node, asked: int, agreed: int) -> None:
    client = FrameClient(node).open(1, frame_max=asked)
    client.call("queue.declare", 1, queue="q")
    data = b"x" * (agreed - 8)
    client.publish("q", data)
    client.call("basic.get", 1, queue="q", no_ack=True)
    assert client.bodies == [data]
    client.send(struct.pack(">BHI", BODY, 1, agreed + 1) + b"x")
    closed_with(client, 501)


@pytest.mark.parametrize(("asked", "agreed"), [(2, 2), (0, 2047), (9999, 2047)])
def test_the_number_of_channels_holds(node: Node, asked: int, agreed: int) -> None:
    client = FrameClient(node).open(channel_max=asked)
    for channel in range(1, agreed + 1):
        assert client.call("channel.open", channel).method.name == "channel.open_ok"
    client.send_method("channel.open", agreed + 1)
    closed_with(client, 530, "reached the negotiated channel_max")


def test_an_unknown_virtual_host(new_client: FrameClient) -> None:
    new_client.start()
    new_client.log_in()
    new_client.tune()
    new_client.send_method("connection.open", virtual_host="nowhere")
    closed_with(new_client, 530, "vhost nowhere not found")


CALLS = ["connection.start_ok", "connection.tune_ok", "connection.open"]


OTHERS = ["connection.start", "connection.blocked", "queue.declare"]
NOT_DUE = [(s, n) for s in (1, 2, 3, 4) for n in CALLS + OTHERS if n not in CALLS[s - 1 : s]]


@pytest.mark.parametrize(("steps", "name"), NOT_DUE)
def test_methods_at_the_wrong_stage_are_refused(
    new_client: FrameClient, name: str, steps: int
) -> None:
    for step in HANDSHAKE[:steps]:
        step(new_client)
    new_client.send_method(name)
    closed_with(new_client, 504, "unexpected method in connection state")


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_channels_before_the_connection_is_open(new_client: FrameClient, steps: int) -> None:
    for step in HANDSHAKE[:steps]:
        step(new_client)
    new_client.send_method("channel.open", 1)
    closed_with(new_client, 505)


@pytest.mark.parametrize("steps", [1, 2, 3, 4])
def test_a_client_may_close_at_any_stage(new_client: FrameClient, steps: int) -> None:
    for step in HANDSHAKE[:steps]:
        step(new_client)
    new_client.receive()
    assert new_client.call("connection.close", reply_code=200).method.name == "connection.close_ok"
    assert new_client.stage is Stage.CLOSED


@pytest.mark.parametrize("steps", [0, 1, 2, 3])
def test_a_handshake_must_end_in_time(node: Node, timers: ManualTimers, steps: int) -> None:
    new_client = FrameClient(node)
    for step in HANDSHAKE[:steps]:
        step(new_client)
    timers.advance(node.limits.handshake - 0.1)
    assert new_client.stage is not Stage.CLOSED
    timers.advance(0.2)
    assert new_client.stage is Stage.CLOSED
    assert not node.connections


def test_an_open_connection_has_all_the_time(client: FrameClient, timers: ManualTimers) -> None:
    timers.advance(3600)
    assert client.stage is Stage.OPEN


def test_a_new_secret(client: FrameClient) -> None:
    answer = client.call("connection.update_secret", new_secret="s", reason="r")
    assert answer.method.name == "connection.update_secret_ok"


# --- the table of stages

LEGAL = {
    (Stage.GREETING, StageEvent.GREETED, Stage.STARTING),
    (Stage.STARTING, StageEvent.ANSWERED, Stage.SECURING),
    (Stage.SECURING, StageEvent.LOGGED_IN, Stage.TUNING),
    (Stage.TUNING, StageEvent.TUNED, Stage.OPENING),
    (Stage.OPENING, StageEvent.OPENED, Stage.OPEN),
    *(
        (stage, StageEvent.FAILED, Stage.CLOSING)
        for stage in set(Stage) - {Stage.GREETING, Stage.CLOSED}
    ),
    (Stage.CLOSED, StageEvent.FAILED, Stage.CLOSED),
    *((stage, StageEvent.ENDED, Stage.CLOSED) for stage in Stage),
}


@pytest.mark.parametrize("event", StageEvent)
@pytest.mark.parametrize("stage", Stage)
def test_every_stage_meets_every_event(stage: Stage, event: StageEvent) -> None:
    after = {to for before, met, to in LEGAL if (before, met) == (stage, event)}
    if after:
        assert {next_stage(stage, event)} == after
    else:
        with pytest.raises(AssertionError, match=f"{event.name} cannot happen"):
            next_stage(stage, event)


def test_the_table_has_every_stage() -> None:
    assert set(TRANSITIONS) == set(Stage)
