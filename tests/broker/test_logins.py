"""What clients that have not logged in can cause, and how often they may try."""

from __future__ import annotations

import pytest

from postage.broker import Broker
from postage.broker.core.clock import ManualTimers
from postage.broker.core.likeness import likeness_of
from postage.broker.core.limits import Limits
from postage.broker.session import handshake, logins
from postage.broker.session.handshake import Stage
from postage.broker.session.logins import FREE_TRIES, LONGEST_WAIT, Logins, Strangers, source_of
from postage.broker.session.node import Node
from postage.broker.wire.fields import encode_table
from postage.broker.wire.methods import encode
from postage.log_records import sorts
from tests.support.frame_client import FrameClient, closed_with, frame

FAR = "192.0.2.1"
RIGHT, WRONG = b"\0me\0secret", b"\0me\0guess"


@pytest.fixture
def node(timers: ManualTimers) -> Node:
    sorts.clear()
    return Node(timers, Limits(handshake=60), {"me": "secret"})


def logging_in(node: Node, response: bytes = WRONG, address: str = FAR) -> FrameClient:
    """Return a client that has sent its password."""
    client = FrameClient(node, address)
    client.start()
    client.log_in_by(response)
    return client


# --- addresses


@pytest.mark.parametrize(
    ("address", "source"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("", ""),
        ("what:is:this", "what:is:this"),
    ],
)
def test_a_host_cannot_choose_its_source(address: str, source: str) -> None:
    assert source_of(address) == source


# --- how often


def test_some_logins_may_fail_at_once(node: Node) -> None:
    for _ in range(FREE_TRIES):
        closed_with(logging_in(node), 403)
    waiting = logging_in(node)
    assert not waiting.receive()
    assert waiting.stage is Stage.SECURING


def test_logins_that_wait_are_checked_one_a_second(node: Node, timers: ManualTimers) -> None:
    for _ in range(FREE_TRIES):
        logging_in(node)
    clients = [logging_in(node, RIGHT if n % 2 else WRONG) for n in range(4)]
    for seconds in range(1, 5):
        done = [each for each in clients if each.stage is not Stage.SECURING]
        assert len(done) == seconds - 1
        timers.advance(1.001)
    assert [each.stage for each in clients] == [Stage.CLOSING, Stage.TUNING] * 2


def test_more_logins_than_may_wait_are_refused_for_now(node: Node) -> None:
    for _ in range(FREE_TRIES + int(LONGEST_WAIT)):
        logging_in(node)
    closed_with(logging_in(node, RIGHT), 320, "retry later")


def test_other_sources_do_not_wait(node: Node) -> None:
    for _ in range(2 * FREE_TRIES):
        logging_in(node)
    for address in ("192.0.2.2", "2001:db8::1", "127.0.0.1"):
        assert logging_in(node, RIGHT, address).stage is Stage.TUNING


def test_hosts_of_an_ipv6_network_share_their_tries(node: Node) -> None:
    for n in range(FREE_TRIES):
        logging_in(node, address=f"2001:db8:1:2:{n:x}::{n:x}")
    assert logging_in(node, RIGHT, "2001:db8:1:2::ffff").stage is Stage.SECURING
    assert logging_in(node, RIGHT, "2001:db8:1:3::ffff").stage is Stage.TUNING


def test_programs_on_this_machine_never_wait(node: Node) -> None:
    for _ in range(3 * FREE_TRIES):
        closed_with(logging_in(node, address="127.0.0.1"), 403)
    assert logging_in(node, RIGHT, "127.0.0.1").stage is Stage.TUNING


def test_failures_are_forgotten_in_time(node: Node, timers: ManualTimers) -> None:
    for _ in range(2 * FREE_TRIES):
        logging_in(node)
    timers.advance(2 * FREE_TRIES)
    for _ in range(FREE_TRIES):
        closed_with(logging_in(node), 403)


def test_right_passwords_use_up_no_tries(node: Node) -> None:
    for _ in range(3 * FREE_TRIES):
        assert logging_in(node, RIGHT).stage is Stage.TUNING


@pytest.mark.parametrize("how", ["abort", "close", "frame"])
def test_a_client_that_leaves_is_not_checked_later(
    node: Node, timers: ManualTimers, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(FREE_TRIES):
        logging_in(node)
    client = logging_in(node, RIGHT)
    if how == "frame":
        client.send_method("connection.tune_ok")
        closed_with(client, 504)
    else:
        getattr(client.connection, how)()
    timers.advance(LONGEST_WAIT)
    assert client.stage in (Stage.CLOSING, Stage.CLOSED)
    assert not client.connection.user
    assert "bug" not in caplog.text


def test_few_sources_are_remembered(timers: ManualTimers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logins, "MOST_SOURCES", 100)
    several = Logins({}, timers)
    for n in range(1000):
        several.failed(f"source {n}")
    assert len(several._free_at) == 100
    timers.advance(1)
    several.failed("one more")
    assert list(several._free_at) == ["one more"], "nothing is kept of those that may log in"


def test_refused_logins_are_logged_and_counted(
    node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    for n in range(1000):
        logging_in(node, b"\0me\x1b[2J\n" + b"x" * 3000 + b"\0guess%d" % n, "127.0.0.1")
    refused = [each for each in caplog.records if "was refused" in each.getMessage()]
    assert [each.levelname for each in refused] == ["WARNING"] * 4
    for each in refused:
        assert len(each.getMessage()) < 1200
        assert "127.0.0.1" in each.getMessage()
        assert "guess" not in each.getMessage()
        assert each.getMessage().isprintable()


@pytest.mark.parametrize(
    ("user", "password"),
    [("me", ""), ("me", "secre"), ("me", "Secret"), ("", ""), ("ghost", "secret")],
)
def test_only_the_right_password_is_right(node: Node, user: str, password: str) -> None:
    assert not node.logins.admits(user, password, loopback=True)


# --- how much work


@pytest.mark.parametrize("size", [likeness_of().frame_min + 1, 131_072, 1 << 31])
@pytest.mark.parametrize("step", [1, 2])
def test_frames_are_small_before_the_login(node: Node, size: int, step: int) -> None:
    client = FrameClient(node)
    client.start()
    if step > 1:
        client.log_in(RIGHT)
    client.send(frame(1, 0, b"x" * 8)[:3] + size.to_bytes(4, "big"), b"x" * 10)
    closed_with(client, 501, "over the limit")
    assert client.stage is Stage.CLOSED


def test_frames_may_be_large_after_tune_ok(node: Node) -> None:
    client = FrameClient(node)
    client.start()
    client.log_in(RIGHT)
    client.tune()
    assert client.call("connection.open", virtual_host="/").method.name == "connection.open_ok"
    client.call("channel.open", 1)
    client.call("queue.declare", 1, queue="q", arguments={"x": "y" * 100_000})


TABLES = {
    "nested": b"\1aF" + (3000).to_bytes(4, "big") + b"\1aF" + b"\0" * 2994,
    "runs over": b"\1aS\0\0\xff\xff",
    "unknown type": b"\1a?",
    "many values": b"\1aA" + (3000).to_bytes(4, "big") + b"?" * 3000,
}


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_the_password_comes_before_all_else(
    node: Node, table: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start_ok(client: FrameClient, response: bytes) -> None:
        client.start()
        empty = encode(0, "connection.start_ok", mechanism="PLAIN", response=response)
        payload = empty[7:11] + len(table).to_bytes(4, "big") + table + empty[15:-1]
        client.send(frame(1, 0, payload))

    with monkeypatch.context() as patched:
        patched.setattr(handshake, "decode_table", None)
        client = FrameClient(node)
        start_ok(client, WRONG)
        assert client.stage is Stage.CLOSED
    client = FrameClient(node)
    start_ok(client, RIGHT)
    closed_with(client, 501)


def test_properties_announce_a_capability_without_being_decoded() -> None:
    known = {"capabilities": {"authentication_failure_close": True}, "product": "me"}
    unknown = {"capabilities": {"authentication_failure_close": False}}
    assert handshake.announces(encode_table(known), "authentication_failure_close")
    assert not handshake.announces(encode_table(unknown), "authentication_failure_close")


# --- how many


@pytest.mark.parametrize("stage", ["silent", "started", "logged in", "tuned"])
def test_connections_that_are_not_open_make_room(timers: ManualTimers, stage: str) -> None:
    node = Node(timers, Limits(connections=20))
    steps = ["silent", "started", "logged in", "tuned"].index(stage)
    crowd = []
    for _ in range(100):
        client = FrameClient(node, FAR if stage in ("silent", "started") else "127.0.0.1")
        for step in (client.start, client.log_in, client.tune)[:steps]:
            step()
        crowd.append(client)
    assert [each.stage is Stage.CLOSED for each in crowd] == [True] * 80 + [False] * 20
    FrameClient(node).open(1)


def test_the_source_with_most_connections_loses_one() -> None:
    strangers: Strangers[str] = Strangers(4)
    for name in ("far 1", "far 2", "far 3", "near 1", "near 2"):
        strangers.add(name, name.split()[0])
    assert strangers.surplus() == "far 1"
    strangers.discard("far 1", "far")
    assert strangers.surplus() is None
    strangers.add("near 3", "near")
    assert strangers.surplus() == "near 1"
    strangers.discard("unknown", "far")
    strangers.discard("unknown", "elsewhere")
    assert len(strangers) == 5


def test_open_connections_are_no_strangers(timers: ManualTimers) -> None:
    node = Node(timers, Limits(connections=30))
    clients = [FrameClient(node).open(1) for _ in range(30)]
    assert len(node.strangers) == 0
    late = FrameClient(node)
    late.start()
    late.log_in()
    late.tune()
    late.send_method("connection.open", virtual_host="/")
    closed_with(late, 530, "limit (30) is reached")
    late.connection.abort()
    clients[0].connection.abort()
    FrameClient(node).open(1)


@pytest.mark.parametrize("files", [40, 64, 256, 1 << 20])
def test_a_broker_leaves_file_descriptors_for_others(files: int) -> None:
    broker = Broker()
    broker._keep_within(files)
    node = broker.node
    assert 0 < node.strangers.most <= 1024
    assert 0 < node.most_open <= 1024
    assert node.strangers.most + node.most_open <= max(32, files - 64)
