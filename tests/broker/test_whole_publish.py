"""Publishes that are read at once do what the same publishes do frame by frame."""

from __future__ import annotations

import dataclasses
import itertools
import struct
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pika import spec

from postage.broker.core.clock import ManualTimers
from postage.broker.core.limits import Limits
from postage.broker.core.routing import BrokerBinding
from postage.broker.core.vhost import MOST_ROUTES, VHost
from postage.broker.faults import Faults
from postage.broker.session.client_connection import ClientConnection
from postage.broker.session.handshake import Stage
from postage.broker.session.node import Node
from postage.broker.snapshot import snapshot
from postage.broker.wire.exceptions import SyntaxFault
from postage.broker.wire.framing import WHOLE_PUBLISH, FrameParser, single_frames
from postage.broker.wire.methods import LONGEST_CACHED, decode_publish, encode
from tests.broker.fuzzing import GREETING, Fuzzer, content, frame, method
from tests.support import wire
from tests.support.core import message, new_exchange, new_queue
from tests.support.frame_client import FrameClient

B, Q, E = spec.Basic, spec.Queue, spec.Exchange
FRAME_MAX = 8192
LIMITS = Limits(message_max=3000, memory=20_000)


def publish(
    key: str = "q", body: bytes = b"body", channel: int = 1, exchange: str = "", **properties: Any
) -> bytes:
    """Return a publish as its frames."""
    called = method(channel, B.Publish(exchange=exchange, routing_key=key))
    return called + b"".join(wire.content(channel, properties, body, FRAME_MAX - 8))


# --- reading


def parsed(pieces: Iterable[bytes], *, single: bool) -> list[Any]:
    """Return the frames in *pieces*, and the error that ends them, if any."""
    parser, frames = FrameParser(FRAME_MAX), []
    try:
        for piece in pieces:
            for type_, channel, payload in parser.feed(piece, single=single):
                whole = type_ == WHOLE_PUBLISH
                frames += single_frames(channel, payload) if whole else [(type_, channel, payload)]
    except SyntaxFault as exc:
        frames.append(str(exc))
    return frames


def cut(data: bytes, cuts: list[int]) -> list[bytes]:
    """Return *data* in pieces."""
    ends = [0, *sorted(min(each, len(data)) for each in cuts), len(data)]
    return [data[one:other] for one, other in itertools.pairwise(ends)]


streams = st.lists(
    st.one_of(
        st.builds(publish, body=st.binary(max_size=20), channel=st.integers(1, 2)),
        st.builds(publish, body=st.just(b"x" * 5000), expiration=st.just("1000")),
        st.sampled_from((method(1, B.Ack(1)), method(2, B.Publish()), content(1, b"x"))),
    ),
    max_size=6,
).map(b"".join)


@given(streams, st.lists(st.integers(0, 500), max_size=4), st.integers(0, 600), st.integers(0, 255))
def test_frames_are_the_same_read_singly(data: bytes, cuts: list[int], at: int, byte: int) -> None:
    changed = data[:at] + bytes((byte,)) + data[at + 1 :]
    for each in (data, changed):
        assert parsed(cut(each, cuts), single=False) == parsed([each], single=True)


ONE = publish()
METHOD, HEADER, BODY = ONE[:18], ONE[18:-12], ONE[-12:]


def test_a_publish_is_read_at_once() -> None:
    assert METHOD + HEADER + BODY == ONE
    types = [each[0] for each in FrameParser(FRAME_MAX).feed(ONE * 3)]
    assert types == [WHOLE_PUBLISH] * 3


@pytest.mark.parametrize(
    "data",
    [
        *(ONE[:-1], METHOD + HEADER, METHOD + BODY + HEADER),
        METHOD[:-1] + b"\xcf" + HEADER + BODY,
        METHOD + HEADER[:-1] + b"\xcf" + BODY,
        METHOD + HEADER + BODY[:-1] + b"\xcf",
        METHOD + HEADER[:2] + b"\2" + HEADER[3:] + BODY,
        METHOD + HEADER + BODY[:2] + b"\2" + BODY[3:],
        METHOD + HEADER[:8] + b"\x14" + HEADER[9:] + BODY,
        METHOD + HEADER[:10] + b"\1" + HEADER[11:] + BODY,
        METHOD + HEADER[:18] + b"\3" + HEADER[19:] + BODY,
        METHOD + HEADER[:20] + b"\1" + HEADER[21:] + BODY,
        publish(body=b""),
        publish(body=b"x" * FRAME_MAX),
    ],
)
def test_anything_else_is_read_frame_by_frame(data: bytes) -> None:
    try:
        types = [each[0] for each in FrameParser(FRAME_MAX).feed(data)]
    except SyntaxFault:
        types = []
    assert WHOLE_PUBLISH not in types


# --- carrying out


class Twin:
    """A broker without sockets, with one connection; *single*: it reads frame by frame."""

    def __init__(self, *, single: bool) -> None:
        self.timers = ManualTimers()
        self.node = Node(self.timers, LIMITS)
        if single:
            Faults(self.node).drop("no connection has this name")  # sees every frame from now on
        self.connection = self._connect()

    def _connect(self) -> ClientConnection:
        connection = self.node.open_connection(lambda: None)
        for data in (*GREETING, *(method(each, spec.Channel.Open()) for each in (1, 2))):
            connection.feed(data)
        return connection

    def feed(self, data: bytes) -> list[bytes]:
        """Feed *data*; return what the client reads, and open again what has been closed."""
        self.connection.feed(data)
        outputs = []
        for _ in range(3):  # reading resumes deliveries, which may be more to read
            outputs.append(self.connection.take_output())
            self.connection.resume()
        if self.connection.stage is not Stage.OPEN:
            self.connection.close()
            self.connection = self._connect()
        for number in (1, 2):
            channel = self.connection.channels.get(number)
            if channel is not None and channel.closing:
                self.connection.feed(method(number, spec.Channel.CloseOk()))
            self.connection.feed(b"" if number in self.connection.channels else OPEN[number])
        return outputs


OPEN = {number: method(number, spec.Channel.Open()) for number in (1, 2)}
DEAD = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "r"}
QUEUES: dict[str, dict[str, Any]] = {
    "q": {},
    "r": {},
    "ttl": {"x-message-ttl": 500, **DEAD},
    "short": {"x-max-length": 2, **DEAD},
    "full": {"x-max-length": 2, "x-overflow": "reject-publish"},
    "high": {"x-max-priority": 2},
}
START = [
    *(
        method(1, Q.Declare(queue=name, durable=True, arguments=each))
        for name, each in QUEUES.items()
    ),
    method(1, E.Declare(exchange="fanout", type="fanout")),
    *(method(1, Q.Bind(queue=name, exchange="fanout")) for name in ("r", "full", "short")),
    method(1, E.Declare(exchange="internal", internal=True)),
]
PROPERTIES: tuple[dict[str, Any], ...] = (
    *({}, {"correlation_id": "1"}, {"expiration": "100"}, {"priority": 1}, {"user_id": "guest"}),
    *({"headers": {"CC": ["r"]}}, {"headers": {"BCC": ["q"]}}, {"reply_to": "answers"}),
    *({"user_id": "me"}, {"expiration": "1x"}, {"reply_to": "amq.rabbitmq.reply-to"}),
)
publishes = st.builds(
    publish,
    key=st.sampled_from((*QUEUES, "q", "q", "nobody")),
    body=st.sampled_from((b"body", b"", b"x" * 2000, b"x" * 3001, b"x" * 5000)),
    channel=st.sampled_from((1, 1, 2, 3)),
    exchange=st.sampled_from(("", "", "", "fanout", "internal", "nowhere")),
).flatmap(lambda data: st.sampled_from((data, data * 3)))
with_properties = st.sampled_from(PROPERTIES).map(lambda each: publish(**each))
mandatory = encode(1, "basic.publish", routing_key="nobody", mandatory=True) + content(1, b"m")
others = st.sampled_from(
    (
        mandatory,
        encode(1, "basic.publish", routing_key="q", immediate=True) + content(1, b"m"),
        *(method(1, B.Consume(queue=name, consumer_tag=name)) for name in ("q", "r")),
        *(method(1, B.Ack(tag)) for tag in (1, 2)),
        *(method(1, B.Reject(1)), method(1, B.Get(queue="short")), method(1, B.Qos(0, 1, True))),
        *(
            method(2, spec.Confirm.Select()),
            method(2, spec.Tx.Select()),
            method(2, spec.Tx.Commit()),
        ),
        *(method(1, Q.Delete(queue="r")), method(1, Q.Declare(queue="r", durable=True))),
        *(method(2, B.Publish(routing_key="q")), method(2, spec.Channel.Close(200, "", 0, 0))),
        method(2, B.Publish(routing_key="q")) + publish(channel=2),  # incomplete
        *(frame(2, 1, struct.pack(">HHQH", 60, 0, 3, 0)), frame(3, 1, b"123"), frame(8, 0, b"")),
    )
)
scripts = st.lists(st.lists(publishes | with_properties | others, max_size=6).map(b"".join))


@pytest.mark.limit(120)  # it computes, and so do other tests at the same time
@settings(max_examples=100, deadline=None)
@given(scripts)
def test_they_do_the_same_as_their_frames(script: list[bytes]) -> None:
    whole, single = Twin(single=False), Twin(single=True)
    last = [method(1, B.Get(queue=name, no_ack=True)) * 9 for name in QUEUES]
    for data in [b"".join(START), *script, *last]:
        assert whole.feed(data) == single.feed(data)
        for twin in (whole, single):
            twin.timers.advance(0.06)
        assert snapshot_of(whole) == snapshot_of(single)


def snapshot_of(twin: Twin) -> dict[str, Any]:
    return dataclasses.asdict(snapshot(twin.node))


@pytest.mark.slow
@pytest.mark.limit(120)
@pytest.mark.parametrize("seed", range(2))
def test_bad_input_is_the_same_read_singly(seed: int) -> None:
    fuzzer, whole, single = Fuzzer(seed), Twin(single=False), Twin(single=True)
    for _ in range(1000):
        data = fuzzer.draw()
        for part in cut(data, [*range(0, len(data), 700)]):
            assert whole.feed(part) == single.feed(part), data


def test_the_first_publish_meets_the_alarm(node: Node) -> None:
    new_client = FrameClient(node).open(1)
    new_client.send_method("queue.declare", 1, queue="q")
    Faults(node).block("a test")
    new_client.send(ONE)
    assert new_client.connection.blocked


# --- what is kept


def bind(virtual_host: VHost, queue: str, exchange: str, key: str = "", **arguments: Any) -> None:
    new_queue(virtual_host, queue)
    virtual_host.bind(exchange, BrokerBinding("queue", queue, key, arguments), None)


def new_topic(virtual_host: VHost) -> None:
    new_exchange(virtual_host, "e", "topic", arguments={"alternate-exchange": "f"})


ADDRESSES = [("", "a"), ("", "b"), ("e", "k"), ("e", "other"), ("f", ""), ("h", "")]
CHANGES: dict[str, list[Callable[[VHost], Any]]] = {
    "declare a": [lambda virtual_host: new_queue(virtual_host, "a")],
    "declare b": [lambda virtual_host: new_queue(virtual_host, "b")],
    "delete a": [lambda virtual_host: virtual_host.remove_queue(new_queue(virtual_host, "a"))],
    "declare e": [new_topic],
    "delete e": [lambda virtual_host: virtual_host.delete_exchange("e", if_unused=False)],
    "bind a to e": [new_topic, lambda virtual_host: bind(virtual_host, "a", "e", "k")],
    "declare f": [lambda virtual_host: new_exchange(virtual_host, "f")],
    "bind b to f": [lambda virtual_host: bind(virtual_host, "b", "f")],
    "declare h": [lambda virtual_host: new_exchange(virtual_host, "h", "headers")],
    "bind b to h": [lambda virtual_host: bind(virtual_host, "b", "h", x=1)],
}


def change(virtual_host: VHost, name: str) -> None:
    for step in CHANGES[name]:
        step(virtual_host)


def routes(virtual_host: VHost, *, keep: bool) -> list[list[str]]:
    """Return the names of the queues that messages go to; without *keep*, found anew for each."""
    messages = [
        message(exchange=exchange, key=key, headers=headers)
        for exchange, key in ADDRESSES
        for headers in ({}, {"x": 1}, {"CC": ["b"]})
    ]
    found = []
    for each in messages:
        found.append(sorted(queue.name for queue in virtual_host.route(each)))
        if not keep:
            virtual_host.routes.clear()
    return found


@given(st.lists(st.sampled_from(sorted(CHANGES)), max_size=8))
def test_kept_routes_follow_every_change(changes: list[str]) -> None:
    asked = Node(ManualTimers()).vhosts["/"]
    start, done = [name for name in CHANGES if name.startswith("declare")], list[str]()
    for name in (*start, *changes):
        change(asked, name)
        done.append(name)
        fresh = Node(ManualTimers()).vhosts["/"]
        for each in done:
            change(fresh, each)
        assert routes(asked, keep=True) == routes(fresh, keep=False)


def test_few_routes_and_methods_are_kept(client: FrameClient, virtual_host: VHost) -> None:
    for number in range(MOST_ROUTES + 100):
        client.send(publish(key=str(number)))
    assert 0 < len(virtual_host.routes) <= MOST_ROUTES
    short = struct.pack(">HHH", 60, 40, 0) + b"\0\1q\0"
    assert decode_publish(short) is decode_publish(short)
    padded = short + b"padding" * LONGEST_CACHED
    assert decode_publish(padded) is not decode_publish(padded)
    assert decode_publish(padded).routing_key == "q"
