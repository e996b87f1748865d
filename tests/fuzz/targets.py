"""The targets of the fuzzer: functions that take any bytes, and raise only if they find a fault.

* `codec`: bytes that a broker sends to our client.
* `session`: bytes that a client sends to the embedded broker.
* `bodies`: the body of a message, for the processor that handles it and the caller that gets it.
* `properties`: the properties of a message, for the processor, and for the broker that passes them
  on and dead-letters them.

A target starts from the same state each time, so that an input has the same effect each time.  It
returns how long the longest turn took: others wait for the end of a turn, not for that of the work.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import gevent
import gevent.socket
import pika
import pika.exceptions

from postage import messaging
from postage.addressing import PRIVATE_QUEUES
from postage.broker.core.clock import ManualTimers, Timer
from postage.broker.core.limits import Limits
from postage.broker.session.node import Node
from postage.broker.wire.content import decode_properties
from postage.broker.wire.framing import FrameParser
from postage.broker.wire.methods import encode
from postage.encoding import JsonEncoder
from postage.errors import DecodingError, PostageError
from postage.green.amqp.channel import Channel
from postage.green.amqp.codec import FRAME_MAX, Codec
from postage.green.amqp.delivery import NO_PROPERTIES, Delivery
from postage.green.amqp.properties import Properties
from postage.green.amqp.transport import Transport
from postage.green.amqp.waiting import Answer
from postage.green.handling.keeping import copied_properties
from postage.green.rpc.replying import encoded_reply
from postage.handlers import Handler
from postage.log_records import sorts
from postage.message import result_from
from postage.protocol import BASIC, BODY, HEADER
from tests.broker.fuzzing import GREETING, OPENING, WORK, content, frame
from tests.fuzz.mutation import split
from tests.support.bad_bodies import body as message_body
from tests.support.fed_transport import pieces
from tests.support.frame_client import ALL_CAPABILITIES
from tests.support.peer import OPEN_OK, START, TUNE

__all__ = ["TARGETS", "Target"]

Target = Callable[[bytes], float]
"""Returns the seconds of processor time of the longest turn."""

T = TypeVar("T")


class Fault(AssertionError):
    """A target did what no input may make it do."""


class _Errors(logging.Handler):
    """Formats each record of Postage, and keeps the exceptions that were logged as bugs."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[BaseException] = []

    def emit(self, record: logging.LogRecord) -> None:
        text = self.format(record)
        error = record.exc_info[1] if record.exc_info else None
        if error is not None and not isinstance(error, pika.exceptions.AMQPError):
            self.found.append(error)  # Postage logs tracebacks of its own bugs, and of handlers
        if "\x1b" in text:
            self.found.append(Fault(f"an escape sequence is in the log: {text!r}"))


_errors = _Errors()
_logger = logging.getLogger("postage")


class _Turns:
    """Calls what Postage does in one turn of the hub, and notes how long the longest call took."""

    longest = 0.0

    def take(self, call: Callable[..., T], *arguments: Any) -> T:
        begun = time.thread_time()
        try:
            return call(*arguments)
        finally:
            self.longest = max(self.longest, time.thread_time() - begun)


@contextmanager
def _watched() -> Iterator[_Turns]:
    """Raise the first exception that was logged, in the hub or with its traceback."""
    sorts.clear()  # or an error that has been counted before would not be logged
    hub, propagates = gevent.get_hub(), _logger.propagate
    handle_error, hub.handle_error = hub.handle_error, _on_hub_error  # type: ignore[method-assign]
    _logger.addHandler(_errors)
    _logger.propagate = False
    try:
        yield _Turns()
        gevent.sleep(0)  # callbacks and greenlets that the input has caused
    finally:
        _logger.removeHandler(_errors)
        _logger.propagate = propagates
        hub.handle_error = handle_error  # type: ignore[method-assign]
        found = _errors.found[:]
        _errors.found.clear()
        if found:  # what the target has noticed is mostly a consequence of it
            raise found[0]


def _on_hub_error(_context: Any, _type: Any, value: Any, _traceback: Any) -> None:
    if not isinstance(value, PostageError):  # which greenlets of the targets get, as they wait
        _errors.found.append(value)


# --- a client, and the bytes of a broker

_START_ID = b"\x00\x0a\x00\x0a"
_MOST_WRITTEN = 1 << 20


def codec(data: bytes) -> float:
    """Let a client receive *data*: from the start of a connection, or on one with channels."""
    with _watched() as turns:
        client = _Client(turns)
        try:
            if data[7:11] != _START_ID:
                client.open()
            for piece in pieces(data, len(data), (1, 8, 100, 5000, 5000)):
                client.receive(piece)
            if client.transport.written > _MOST_WRITTEN:
                raise Fault(f"the client wrote {client.transport.written} bytes")
        finally:
            client.close()
    return turns.longest


class _Client:
    """A client without a broker: a transport, its codec, and channels that do what components do.

    One channel consumes, one waits for a confirm, and one calls.
    """

    def __init__(self, turns: _Turns) -> None:
        self._turns = turns
        self._ends = gevent.socket.socketpair()
        self.transport = Transport(
            pika.ConnectionParameters(heartbeat=60),
            self._ends[0],
            on_open=lambda *_: None,
            on_failure=lambda *_: None,
            on_close=lambda *_: None,
        )
        self._codec = Codec(self.transport)
        self.transport.start()

    def open(self) -> None:
        """Open the connection and the channels, as far as the transport tells of answers."""
        self.receive(START + TUNE + OPEN_OK)
        consuming, confirming, calling = (self._open_channel(number) for number in (1, 2, 3))
        gevent.spawn(consuming.consume, "q", _take, tag="ours", max_body=1 << 16)
        gevent.spawn(calling.consume, "replies", _read, tag="replies", no_ack=True)
        gevent.spawn(confirming.confirm_publishes)
        gevent.sleep(0)
        self.receive(encode(1, "basic.qos_ok") + encode(1, "basic.consume_ok", consumer_tag="ours"))
        self.receive(encode(3, "basic.consume_ok", consumer_tag="replies"))
        self.receive(encode(2, "confirm.select_ok"))
        calling.on_return = lambda _reason, returned: repr(returned)
        calling.publish("", "server", Properties(correlation_id="7"), b"call", mandatory=True)
        for _ in range(3):
            message = "", "nowhere", Properties(message_id="7"), b"important"
            gevent.spawn(confirming.publish_confirmed, *message, mandatory=True, limit=60.0)
        gevent.sleep(0)

    def _open_channel(self, number: int) -> Channel:
        opened: Answer[Any] = Answer()
        channel = Channel(self.transport, self._codec, opened, 60.0, "the fuzzer")
        self.receive(encode(number, "channel.open_ok"))
        return channel

    def receive(self, data: bytes) -> None:
        """Receive *data* as from the network, unless the connection has ended."""
        if not self.transport._torn_down:
            self._ends[1].sendall(data)
            self._turns.take(self.transport._on_readable)

    def close(self) -> None:
        """Lose the connection, so that all waiters get to know."""
        self._ends[1].close()
        self._turns.take(self.transport.lose, EOFError("the input has ended"))
        gevent.sleep(0)
        self._ends[0].close()


def _take(delivery: Delivery) -> None:
    _read(delivery)
    delivery.ack()


def _read(delivery: Delivery) -> None:
    repr(delivery.properties)
    len(delivery.body)


# --- a broker, and the bytes of its clients

_LIMITS = Limits(channels=16, queues=50, memory=1 << 17, message_max=1 << 16)
_MOST_ANSWERED = 1 << 22
_ABLE = encode(
    0,
    "connection.start_ok",
    client_properties={"capabilities": ALL_CAPABILITIES},
    mechanism="PLAIN",
    response=b"\0guest\0guest",
)
_LOGIN = b"".join((GREETING[0], _ABLE, *GREETING[2:], *OPENING))


def session(data: bytes) -> float:
    """Let the broker receive *data*: from the start of a connection, or after a login.

    After the login there are two channels, and queues and exchanges that are bound.  Frames for
    the channels 16384 to 32767 come from a second client.  Afterwards the broker serves one more,
    and nothing that they left is in the account of memory.
    """
    with _watched() as turns, _broker(turns) as (node, timers):
        clients = [node.open_connection(lambda: None) for _ in range(2)]
        clients[1].feed(_LOGIN)
        if not data.startswith(b"AMQP"):
            clients[0].feed(b"".join((_LOGIN, *WORK[:7])))
        answered = 0
        for number, piece in _sent(data):
            turns.take(clients[number].feed, piece)
            for client in clients:
                answered += len(turns.take(client.take_output))
                turns.take(client.resume)
            timers.advance(0.001)
        timers.advance(100.0)
        answered += sum(len(turns.take(client.take_output)) for client in clients)
        if answered > _MOST_ANSWERED:
            raise Fault(f"the broker answered {len(data)} bytes with {answered}")
        _serve_another(node)
    return turns.longest


def _sent(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the pieces in which *data* arrives, each with the number of its client, 0 or 1."""
    for is_second, group in itertools.groupby(split(data), _is_of_second):
        stream = b"".join([_readdressed(each) if is_second else each for each in group])
        for piece in pieces(stream, len(stream), (1, 100, 5000, 5000, 5000)):
            yield int(is_second), piece


def _is_of_second(piece: bytes) -> bool:
    return len(piece) > 1 and piece[1] & 0xC0 == 0x40  # the highest bits of the channel


def _readdressed(piece: bytes) -> bytes:
    return piece[:1] + bytes((piece[1] & 0x3F,)) + piece[2:]


class _Clock(ManualTimers):
    """A clock whose calls are turns."""

    def __init__(self, turns: _Turns) -> None:
        super().__init__()
        self._turns = turns

    def later(self, seconds: float, call: Callable[[], None]) -> Timer:
        return super().later(seconds, lambda: self._turns.take(call))

    @property
    def waiting(self) -> int:
        """How many calls are due later; each keeps in memory what it is for."""
        return sum(timer.call is not None for _, _, timer in self._due)


@contextmanager
def _broker(turns: _Turns) -> Iterator[tuple[Node, ManualTimers]]:
    """Yield a broker and its clock; nothing may be left when everything in it is deleted."""
    timers = _Clock(turns)
    node = Node(timers, _LIMITS)
    yield node, timers
    for connection in list(node.connections):
        turns.take(connection.close)
        connection.take_output()
    timers.advance(100.0)
    node.remove_vhost("/")
    if node.connections or node.memory or timers.waiting:
        raise Fault(f"{node} has {node.memory} bytes in its account, {timers.waiting} timers")


def _serve_another(node: Node) -> None:
    """Let another client publish a message, and get it, unless there are too many queues."""
    connection = node.open_connection(lambda: None)
    publish = encode(1, "basic.publish", routing_key="another")
    connection.feed(_LOGIN + encode(1, "queue.declare", queue="another", exclusive=True))
    connection.feed(publish + content(1, b"for another"))
    connection.feed(encode(1, "basic.get", queue="another", no_ack=True))
    answer = connection.take_output()
    if b"for another" not in answer and b"the limit of 50 is reached" not in answer:
        raise Fault(f"another client is not served any more: {answer!r}")


# --- a processor, and messages


class _Settled:
    """A channel that notes how each delivery was settled."""

    alive = True
    withdrawn = False

    def __init__(self) -> None:
        self.verdicts: list[str] = []

    def ack(self, tag: int) -> None:
        self.verdicts.append(f"ack {tag}")

    def reject(self, tag: int, *, requeue: bool) -> None:
        self.verdicts.append(f"reject {tag} {requeue}")


class _Consumer(messaging.GenericConsumer):
    """Encodes replies, and sends none, because there is no broker."""

    def reply(self, header: Properties, message: Any, deadline: Any) -> None:
        self.send_reply(encoded_reply(self.encoder, header, message), deadline)

    def send_reply(self, reply: Any, deadline: Any) -> None:
        _queue, properties, _body = reply
        Properties.decode_now(properties)


class _Open(messaging.MessageProcessor):
    """Has handlers of each sort; none of them raises."""

    consumer_class = _Consumer

    @messaging.MessageHandler("command", "note")
    def note(self, content: Any) -> None:
        content.clear()

    @messaging.MessageHandlerFullBody("command", "note")
    def note_all(self, body: Any) -> None:
        body.clear()

    @messaging.MessageHandler("status", "note")
    class Status(Handler):
        def call(self) -> None:
            self.data.clear()

    @messaging.RpcHandler("command", "echo")
    def echo(self, content: Any, reply: Any) -> None:
        reply(content)


class _Strict(_Open):
    """Trusts its peers as little as it can be told to."""

    reply_to = PRIVATE_QUEUES
    expose_exceptions = "id"
    remote_control = False
    max_deliveries = 2
    answer_unknown = False


_processors = [_Open({"name": "fuzzed"}), _Strict({"name": "fuzzed"})]
_HEADER = Properties(correlation_id="7", reply_to="amq.gen-7", content_type="application/json")
_CALL = message_body(category="rpc", name="echo")


def _handle(turns: _Turns, header: bytes, body: bytes, *, redelivered: bool) -> None:
    """Let each processor handle a message, which must be settled once, without any error."""
    if len(header) < len(NO_PROPERTIES):
        return  # the codec refuses such a message
    for processor in _processors:
        delivery = Delivery("tag", 1, redelivered, "exchange", "key", time.monotonic())
        channel = delivery.channel = _Settled()
        delivery.header, delivery.body, delivery.origin = header, body, "queue"
        processor.counts.clear()
        turns.take(processor._handle, delivery)
        if len(channel.verdicts) != 1:
            raise Fault(f"a message was settled {channel.verdicts}")
        if processor.counts["failed"]:
            raise Fault(f"a message counts as failed: {processor.counts}")


def _copy(header: bytes) -> None:
    """Make the properties of a copy that is parked, which has to fit into a frame."""
    delivery = Delivery("tag", 1, False, "exchange", "key", time.monotonic())
    delivery.header = header
    copied = copied_properties(delivery, {"x-postage-why": "failed"}, FRAME_MAX)
    if len(copied.encode()) > FRAME_MAX:
        raise Fault("a copy does not fit into a frame")


def bodies(data: bytes) -> float:
    """Let processors handle a message, and a caller get a reply, with the body *data*."""
    with _watched() as turns:
        _handle(turns, _HEADER.encode(), data, redelivered=False)
        turns.take(_get_reply, data)
    return turns.longest


def _get_reply(data: bytes) -> None:
    with contextlib.suppress(DecodingError):
        repr(result_from(JsonEncoder.decode(data)))


def properties(data: bytes) -> float:
    """Let processors and the broker read *data*, the flags and values of properties."""
    with _watched() as turns:
        _handle(turns, data, _CALL, redelivered=True)
        _handle(turns, data, b"no message", redelivered=False)
        turns.take(_copy, data)
        for header in _routed(turns, data):
            _handle(turns, header, _CALL, redelivered=True)
    return turns.longest


_WORK = {"x-dead-letter-exchange": "dead", "x-max-priority": 5, "x-message-ttl": 1000}
_DEAD = {
    "x-queue-type": "quorum",
    "x-delivery-limit": 3,
    "x-dead-letter-exchange": "",
    "x-dead-letter-routing-key": "work",
}
_MATCH = {"x-match": "any", "h": 1}
_QUEUES = [
    _LOGIN,
    encode(1, "exchange.declare", exchange="dead", type="fanout"),
    encode(1, "exchange.declare", exchange="headers", type="headers"),
    encode(1, "queue.declare", queue="work", durable=True, arguments=_WORK),
    encode(1, "queue.declare", queue="dead", durable=True, arguments=_DEAD),
    encode(1, "queue.bind", queue="dead", exchange="dead"),
    encode(1, "queue.bind", queue="work", exchange="headers", arguments=_MATCH),
]
_STEPS = [
    encode(1, "basic.get", queue="work"),
    encode(1, "basic.reject", delivery_tag=1),
    encode(1, "basic.get", queue="dead"),
    encode(1, "basic.reject", delivery_tag=2, requeue=True),
    encode(1, "basic.get", queue="dead"),
    encode(1, "basic.reject", delivery_tag=3),
    encode(1, "basic.consume", queue="dead", consumer_tag="c", no_ack=True),
]
"""A message is rejected, redelivered, rejected again, expires, and is consumed."""


def _routed(turns: _Turns, header: bytes) -> list[bytes]:
    """Return the headers with which the broker delivers a message that was published with one."""
    start = struct.pack(">HHQ", BASIC, 0, len(_CALL))
    frames = frame(HEADER, 1, start + header) + frame(BODY, 1, _CALL)
    parser, sent = FrameParser(1 << 20), []
    with _broker(turns) as (node, timers):
        connection = node.open_connection(lambda: None)
        connection.feed(b"".join(_QUEUES))
        connection.take_output()
        for exchange, key in (("headers", "work"), ("", "work")):
            publish = encode(1, "basic.publish", exchange=exchange, routing_key=key)
            turns.take(connection.feed, publish + frames)
        for step in _STEPS:
            turns.take(connection.feed, step)
            timers.advance(0.6)
            for kind, _, payload in parser.feed(connection.take_output()):
                if kind == HEADER:
                    decode_properties(payload[12:])
                    sent.append(payload[12:])
        _serve_another(node)
    return sent


TARGETS: dict[str, Target] = {each.__name__: each for each in (codec, session, bodies, properties)}
