"""The short way is the long way, only shorter: the same bytes come out, the same is left inside."""

from __future__ import annotations

import dataclasses
import itertools
import struct
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pika import spec

from postage.broker.core.clock import ManualTimers
from postage.broker.core.limits import Limits
from postage.broker.core.validation import validate
from postage.broker.core.vhost import VHost
from postage.broker.fastpath.header_scan import NEEDS_FULL_CHECK, HeaderScan
from postage.broker.fastpath.route_cache import REMEMBERED
from postage.broker.faults import Faults
from postage.broker.session.client_connection import ClientConnection, Stage
from postage.broker.session.node import Node
from postage.broker.snapshot import take
from postage.broker.wire.content import ContentProperties, PublishedMessage
from postage.broker.wire.exceptions import Fault
from postage.broker.wire.methods import encode
from tests.broker.fuzzing import GREETING, Fuzzer, content, frame, method
from tests.support import wire
from tests.support.talk import Talk
from tests.support.wire import some_properties

B, Q, E = spec.Basic, spec.Queue, spec.Exchange
LIMITS = Limits(message_max=20_000, memory=20_000)
FRAME_MAX = 4096
QUEUES = ("q", "r", "ttl", "short", "full", "high", "one", "quorum", "mine")
DEAD = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "r"}
ARGUMENTS: dict[str, dict[str, Any]] = {
    "ttl": {"x-message-ttl": 500, **DEAD},
    "short": {"x-max-length": 2, **DEAD},
    "full": {"x-max-length": 2, "x-overflow": "reject-publish"},
    "high": {"x-max-priority": 2},
    "one": {"x-single-active-consumer": True},
    "quorum": {"x-queue-type": "quorum", "x-delivery-limit": 1},
}
EXCHANGES = ("fanout", "direct", "topic", "headers", "internal", "other")
REPLY_TO = "amq.rabbitmq.reply-to"


class Twin:
    """A broker without sockets and two connections to it, which take the short way or never do."""

    def __init__(self, *, short: bool) -> None:
        self.timers = ManualTimers()
        self.node = Node(self.timers, LIMITS)
        self._short = short
        self.connections = [self._new(), self._new()]

    def _new(self) -> ClientConnection:
        connection = self.node.open_connection(lambda: None)
        connection.express.enabled = self._short  # type: ignore[misc]
        for said in (*GREETING, *(method(each, spec.Channel.Open()) for each in (1, 2))):
            connection.feed(said)
        connection.take_output()
        return connection

    def reopen(self) -> None:
        """Put new connections in the place of those that have ended."""
        for place, connection in enumerate(self.connections):
            if connection.stage is not Stage.OPEN:
                connection.drop()
                self.connections[place] = self._new()
            for number in (1, 2):
                self._reopen_channel(self.connections[place], number)

    def _reopen_channel(self, connection: ClientConnection, number: int) -> None:
        if number in connection.channels and connection.channels[number].closing:
            connection.feed(method(number, spec.Channel.CloseOk()))
        if number not in connection.channels:
            connection.feed(method(number, spec.Channel.Open()))

    def output(self) -> list[bytes]:
        """Return what each connection is told, all of it."""
        told = [b"", b""]
        for _ in range(3):  # what one reads may free another
            for place, connection in enumerate(self.connections):
                told[place] += connection.take_output()
                connection.resume()
        return told

    def inside(self) -> dict[str, Any]:
        """Return all that there is in the broker."""
        queues = self.node.vhosts["/"].queues.values()
        return {
            "statistics": dataclasses.asdict(take(self.node)),
            "entries": {queue.name: [_fields(e) for e in _entries(queue)] for queue in queues},
            "unacked": [_unacked(connection) for connection in self.connections],
            "out": [[c.out for c in s.channels.values()] for s in self.connections],
        }


def _entries(queue: Any) -> list[Any]:
    return [entry for level in queue._levels for entry in level]


def _fields(entry: Any) -> tuple[Any, ...]:
    return tuple(getattr(entry, name) for name in entry.__slots__)


def _unacked(connection: ClientConnection) -> list[Any]:
    return [
        (number, tag, queue.name, _fields(entry))
        for number, channel in connection.channels.items()
        for tag, (queue, entry, _) in channel.unacked.items()
    ]


# --- what clients do: functions that say it in bytes, given what is unacknowledged

Step = Callable[[ClientConnection], bytes]


def said(data: bytes) -> Step:
    return lambda _: data


ADDRESSES = (
    *(("", queue) for queue in (*QUEUES, "q", "q")),
    *(("fanout", ""), ("direct", "q"), ("topic", "a.b"), ("topic", "x"), ("headers", "")),
)
BAD_ADDRESSES = (("", "nobody"), ("", REPLY_TO), ("internal", ""), ("nowhere", ""))
PROPERTIES: tuple[dict[str, Any], ...] = (
    *({}, {}, {"correlation_id": "1"}, {"correlation_id": "CC", "reply_to": "answers"}),
    *({"expiration": "100"}, {"expiration": "60000", "reply_to": "answers", "app_id": "a"}),
    *({"headers": {"h": 1}, "delivery_mode": 2}, {"headers": {"n": {"a": []}}, "timestamp": 5}),
    *(
        {"priority": 1},
        {"expiration": "0"},
        {"headers": {"CC": ["r"]}},
        {"headers": {"BCC": ["q"]}},
    ),
    *({"user_id": "guest"}, {"reply_to": REPLY_TO}),
)
BAD_PROPERTIES = ({"user_id": "me"}, {"expiration": "1x"}, {"delivery_mode": 3})
seldom = st.integers(0, 19).map(lambda number: number == 7)


@st.composite
def publishes(draw: st.DrawFn) -> Step:
    number = draw(st.sampled_from((1, 1, 1, 2)))
    exchange, key = draw(st.sampled_from(BAD_ADDRESSES if draw(seldom) else ADDRESSES))
    flags = draw(st.sampled_from((0, 0, 0, 0, 0, 0, 1, 1, 4)))
    called = method(number, B.Publish(exchange=exchange, routing_key=key))
    called = called[:-2] + bytes((2 if draw(seldom) else flags,)) + called[-1:]
    body = b"b" * draw(st.sampled_from((1, 1, 1, 5, 5, 300, 0, 4088, 5000, 19_000)))
    properties = draw(st.sampled_from(BAD_PROPERTIES if draw(seldom) else PROPERTIES))
    room = 9000 if draw(seldom) else FRAME_MAX - 8
    return said(called + b"".join(wire.content(number, properties, body, room)))


@st.composite
def acks(draw: st.DrawFn) -> Step:
    number, place = draw(st.sampled_from((1, 1, 1, 2))), draw(st.integers(0, 3))
    multiple = draw(st.integers(0, 9)) == 0
    kind = draw(st.sampled_from((B.Ack,) * 8 + (B.Nack, B.Reject)))

    def ack(connection: ClientConnection) -> bytes:
        channel = connection.channels.get(number)
        tags = list(channel.unacked) if channel is not None else []
        if not tags:
            return b""
        what = kind(tags[place % len(tags)])
        if multiple and kind is not B.Reject:
            what.multiple = True
        return method(number, what)

    return ack


def declare(queue: str, number: int) -> bytes:
    durable = queue == "quorum"
    arguments = ARGUMENTS.get(queue)
    what = Q.Declare(queue=queue, durable=durable, arguments=arguments, exclusive=queue == "mine")
    return method(number, what)


def declare_exchange(name: str) -> bytes:
    kind = name if name in ("fanout", "direct", "topic", "headers") else "fanout"
    arguments = {"alternate-exchange": "other"} if name == "topic" else None
    what = E.Declare(exchange=name, type=kind, internal=name == "internal", arguments=arguments)
    return method(1, what)


numbers = st.sampled_from((1, 1, 2))
queues, exchanges = st.sampled_from(QUEUES), st.sampled_from(EXCHANGES)
tags, counts = st.sampled_from(("c", "d", "e")), st.sampled_from((0, 1, 1, 3))
keys = st.sampled_from(("q", "a.*", "#"))
calls = st.one_of(
    st.builds(
        lambda q, t, a, n: method(n, B.Consume(queue=q, consumer_tag=t, no_ack=a)),
        *(queues, tags, st.booleans(), numbers),
    ),
    st.builds(lambda c, g, n: method(n, B.Qos(0, c, g)), counts, st.booleans(), numbers),
    st.builds(lambda t, n: method(n, B.Cancel(t)), tags, numbers),
    st.builds(lambda q, n: method(n, B.Get(queue=q)), queues, numbers),
    st.sampled_from((method(2, spec.Tx.Commit()), method(2, spec.Tx.Rollback()))),
).map(said)
changes = st.one_of(
    st.builds(declare, queues, numbers),
    st.builds(lambda q: method(1, Q.Delete(queue=q)), queues),
    st.builds(lambda q: method(1, Q.Purge(queue=q)), queues),
    st.builds(declare_exchange, exchanges),
    st.builds(lambda e: method(1, E.Delete(exchange=e)), exchanges),
    st.builds(
        lambda q, e, k: method(1, Q.Bind(queue=q, exchange=e, routing_key=k)),
        *(queues, exchanges, keys),
    ),
    st.builds(
        lambda q, e, k: method(1, Q.Unbind(queue=q, exchange=e, routing_key=k)),
        *(queues, exchanges, keys),
    ),
    st.builds(lambda a, b: method(1, E.Bind(source=a, destination=b)), exchanges, exchanges),
).map(said)
nonsense = st.sampled_from(
    (
        method(1, B.Ack(77)),
        method(1, B.Recover(requeue=True)),
        method(2, spec.Channel.Close(200, "", 0, 0)),
        method(0, spec.Connection.Close(200, "", 0, 0)),
        *((method(1, B.Publish(routing_key="q")),) * 3),
        method(1, B.Consume(queue=REPLY_TO, consumer_tag="replies", no_ack=True)),
        frame(2, 1, struct.pack(">HHQH", 60, 0, 3, 0)),
        frame(3, 1, b"123"),
        frame(8, 0, b""),
    )
).map(said)
kinds = st.sampled_from((publishes(),) * 8 + (acks(),) * 6 + (calls,) * 3 + (changes, nonsense) * 2)
turns = st.tuples(
    st.sampled_from((0, 0, 1)),
    st.lists(kinds.flatmap(lambda kind: kind), min_size=1, max_size=8),
    st.lists(st.integers(0, 2000), max_size=2),
    st.sampled_from((0.0, 0.0, 0.0, 0.2)),
)
BEGINNING = b"".join(
    (
        *(declare(queue, 1) for queue in QUEUES),
        *(declare_exchange(name) for name in EXCHANGES),
        method(1, Q.Bind(queue="q", exchange="topic", routing_key="a.*")),
        method(1, Q.Bind(queue="r", exchange="fanout")),
        method(1, Q.Bind(queue="full", exchange="fanout")),
        method(1, Q.Bind(queue="q", exchange="headers", arguments={"h": 1})),
        method(1, Q.Bind(queue="q", exchange="internal")),
        method(1, B.Publish(routing_key="q")) + content(1, b"first"),
    )
)
MODES = {"confirms": spec.Confirm.Select(), "tx": spec.Tx.Select()}


@pytest.mark.limit(120)  # it computes, and others may, too
@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.sampled_from(("confirms", "tx", None)), min_size=2, max_size=2),
    st.lists(turns, min_size=5, max_size=25),
)
def test_both_ways_come_to_the_same(modes: list[str | None], script: list[Any]) -> None:
    short, long = Twin(short=True), Twin(short=False)
    for twin in (short, long):
        twin.connections[0].feed(BEGINNING)
        for connection, mode in zip(twin.connections, modes, strict=True):
            connection.feed(method(2, MODES[mode]) if mode else b"")
    for who, what, cuts, seconds in script:
        data = b"".join(step(long.connections[who]) for step in what)
        for twin in (short, long):
            _feed(twin.connections[who], data, cuts)
            twin.timers.advance(seconds)
        assert short.output() == long.output()
        assert short.inside() == long.inside()
        for twin in (short, long):
            twin.reopen()


def _feed(connection: ClientConnection, data: bytes, cuts: list[int]) -> None:
    ends = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    for one, other in itertools.pairwise(ends):
        connection.feed(data[one:other])


@pytest.mark.slow
@pytest.mark.limit(120)
def test_both_ways_come_to_the_same_with_whatever_is_sent() -> None:
    compare_fuzzed(seed=2, inputs=3000)


def compare_fuzzed(seed: int, inputs: int) -> None:
    fuzzer, nodes = Fuzzer(seed), [Node(ManualTimers(), LIMITS) for _ in range(2)]
    for _ in range(inputs):
        data = fuzzer.draw()
        told = [_told(node, data, short=node is nodes[0]) for node in nodes]
        assert told[0] == told[1], data


def _told(node: Node, data: bytes, *, short: bool) -> list[bytes]:
    connection = node.open_connection(lambda: None)
    connection.express.enabled = short  # type: ignore[misc]
    told = []
    for at in range(0, len(data), 700):
        connection.feed(data[at : at + 700])
        told.append(connection.take_output())
        connection.resume()
    connection.drop()
    return [*told, repr(sorted(node.vhosts["/"].queues.values(), key=lambda q: q.name)).encode()]


# --- what is taken, and what is not


@pytest.fixture
def client(node: Node) -> Talk:
    """A connection that has published once."""
    talk = Talk(node).open(1)
    talk.say("queue.declare", 1, queue="q")
    talk.publish("q")
    talk.hear()
    return talk


ONE = encode(1, "basic.publish", routing_key="q") + content(1, b"body", correlation_id="1")


def test_whole_publishes_and_acks_are_taken(client: Talk) -> None:
    client.say("basic.consume", 1, queue="q", consumer_tag="c")
    acks = b"".join(encode(1, "basic.ack", delivery_tag=tag) for tag in (1, 2))
    data = ONE * 3 + acks + ONE
    assert client.connection.express.skip(data, 0) == len(data)
    assert client.connection.publishes == 5


def test_a_publish_that_is_not_all_there_is_left(client: Talk) -> None:
    for end in range(len(ONE)):
        assert client.connection.express.skip(ONE[:end], 0) == 0
    assert client.connection.publishes == 1


METHOD, HEADER, BODY = ONE[:18], ONE[18:-12], ONE[-12:]


def test_the_frames_are_what_they_are_called() -> None:
    assert [each[0] for each in (METHOD, HEADER, BODY)] == [1, 2, 3]
    assert all(each.endswith(b"\xce") for each in (METHOD, HEADER, BODY))


@pytest.mark.parametrize(
    "data",
    [
        METHOD[:-1] + b"\xcf" + HEADER + BODY,
        METHOD + HEADER[:-1] + b"\xcf" + BODY,
        METHOD + HEADER + BODY[:-1] + b"\xcf",
        METHOD + BODY + HEADER,
        METHOD + HEADER[:2] + b"\2" + HEADER[3:] + BODY,
        METHOD + HEADER + BODY[:2] + b"\2" + BODY[3:],
        METHOD + HEADER[:8] + b"\x14" + HEADER[9:] + BODY,
        METHOD + HEADER[:10] + b"\1" + HEADER[11:] + BODY,
        METHOD + HEADER[:18] + b"\3" + HEADER[19:] + BODY,
        METHOD + HEADER[:20] + b"\1" + HEADER[21:] + BODY,
        METHOD + content(1, b""),
        METHOD + content(1, b"x" * 140_000),
        METHOD + content(1, b"x", priority=1),
        METHOD + content(1, b"x", user_id="guest"),
        METHOD + content(1, b"x", reply_to=REPLY_TO),
        encode(2, "basic.publish", routing_key="q") + content(2, b"x"),
        encode(1, "basic.publish", routing_key="q", immediate=True) + content(1, b"x"),
        encode(1, "basic.publish", routing_key="nobody") + content(1, b"x"),
        encode(1, "basic.publish", exchange="nowhere") + content(1, b"x"),
        encode(1, "basic.ack", delivery_tag=1, multiple=True),
        encode(1, "basic.ack", delivery_tag=2),
        encode(1, "basic.ack", delivery_tag=1)[:-1] + b"\xcf",
        encode(1, "basic.nack", delivery_tag=1),
        encode(1, "basic.get", queue="q"),
    ],
)
def test_what_is_wrong_or_special_is_left(client: Talk, data: bytes) -> None:
    client.say("basic.get", 1, queue="q")
    assert client.connection.express.skip(data + ONE * 2, 0) == 0
    assert (client.connection.publishes, len(client.connection.channels[1].unacked)) == (1, 1)


def test_transactions_are_left(client: Talk) -> None:
    client.say("tx.select", 1)
    assert client.connection.express.skip(ONE, 0) == 0


def test_the_first_publish_meets_the_alarm(node: Node) -> None:
    talk = Talk(node).open(1)
    talk.say("queue.declare", 1, queue="q")
    Faults(node).block("a test")
    assert talk.connection.express.skip(ONE, 0) == 0
    talk.send(ONE)
    assert talk.connection.blocked


def test_a_tap_sees_every_frame(client: Talk) -> None:
    Faults(client.node).drop("nobody")
    assert client.connection.express.skip(ONE, 0) == 0


def test_what_is_declared_anew_is_found_anew(client: Talk) -> None:
    """A route is remembered until anything changes."""
    for name, arguments in (("queue.delete", {"queue": "q"}), ("queue.declare", {"queue": "q"})):
        client.send(ONE * 2)
        client.say(name, 1, **arguments)
    client.send(ONE)
    assert len(client.node.vhosts["/"].queues["q"]) == 1


def test_little_is_remembered(client: Talk, place: VHost) -> None:
    """Long methods and headers are not, and of others no more than so many."""
    for number in range(3000):
        key = b"%d" % number
        client.send(encode(1, "basic.publish", routing_key=key) + content(1, b"x"))
    assert 0 < len(place.routes) <= REMEMBERED
    before = len(place.routes)
    padded = struct.pack(">HHH", 60, 40, 0) + b"\0\1q\0" + b"padding" * 1000
    client.send(frame(1, 1, padded) + content(1, b"x"))
    assert len(place.routes) == before
    glances = HeaderScan()
    for number in range(3000):
        assert glances[ContentProperties({"app_id": str(number)}).encode()] is not NEEDS_FULL_CHECK
    assert 0 < len(glances) <= HeaderScan.REMEMBERED
    glances.clear()
    assert (
        glances[ContentProperties({"headers": {"x": "y" * 1000}}).encode()] is not NEEDS_FULL_CHECK
    )
    assert glances[ContentProperties({"correlation_id": "1"}).encode()] is not NEEDS_FULL_CHECK
    assert not glances


# --- headers


@given(some_properties, st.binary(max_size=3), st.integers(0, 400), st.integers(0, 255))
@example({"expiration": "18446744073709551616"}, b"", 400, 0)
@example({"delivery_mode": 3}, b"", 400, 0)
@example({"reply_to": REPLY_TO}, b"", 400, 0)
@example({"headers": {"CC": "q"}}, b"", 400, 0)
def test_a_glance_lets_nothing_pass_that_a_look_does_not(
    values: dict[str, Any], more: bytes, at: int, byte: int
) -> None:
    data = bytearray(content(1, b"x", **values)[19:-10] + more)
    if at < len(data):
        data[at] = byte
    seen, ttl = HeaderScan()[bytes(data)]
    if not seen:
        return
    message = PublishedMessage("", "q", bytes(data), b"")
    try:
        validate(message, "nobody")
    except Fault:
        pytest.fail(f"{bytes(data)!r} was let in")
    assert message.header == data
    assert not message.more_keys
    expiration = message.properties.get("expiration")
    assert ttl == (None if expiration is None else int(expiration) / 1000)
    assert message.properties.get("reply_to") != REPLY_TO
    assert "priority" not in message.properties.values


def test_the_usual_headers_need_no_look() -> None:
    usual = {
        "content_type": "application/json",
        "delivery_mode": 2,
        "headers": {"trace": "abc"},
        "correlation_id": "1",
        "reply_to": "answers",
        "expiration": "30000",
        "message_id": "2",
        "timestamp": 5,
        "type": "t",
        "app_id": "a",
    }
    data = ContentProperties(usual).encode()
    assert HeaderScan()[data] == (data, 30.0)
    assert HeaderScan()[b"\0\0"] == (b"\0\0", None)
    assert HeaderScan()[b"\0"] is NEEDS_FULL_CHECK
