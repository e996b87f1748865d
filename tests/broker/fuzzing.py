"""Bad input for connections: changed valid streams, and streams that never were valid.

``python -m tests.broker.fuzzing --inputs 1000000`` feeds many, and prints what it finds.
"""

from __future__ import annotations

import argparse
import itertools
import random
import struct
import sys
import time

import pika
import pika.frame
from pika import spec

from postage.broker.core.clock import ManualTimers
from postage.broker.core.limits import Limits
from postage.broker.session.client_connection import ClientConnection
from postage.broker.session.handshake import Stage
from postage.broker.session.node import Node
from postage.broker.wire.methods import METHODS
from tests.support.sync_client import PROTOCOL_HEADER

LIMITS = Limits(channels=16, queues=50, memory=1 << 20, message_max=1 << 16)
OUTPUT = 1 << 20
"""Bytes: no input here may cause a longer answer."""


def method(channel: int, what: spec.amqp_object.Method) -> bytes:
    data: bytes = pika.frame.Method(channel, what).marshal()
    return data


def content(channel: int, body: bytes, **properties: object) -> bytes:
    header = pika.frame.Header(channel, len(body), pika.BasicProperties(**properties))
    data: bytes = header.marshal() + pika.frame.Body(channel, body).marshal()
    return data


GREETING = [
    PROTOCOL_HEADER,
    method(0, spec.Connection.StartOk({"product": "p"}, "PLAIN", b"\0guest\0guest", "en_US")),
    method(0, spec.Connection.TuneOk(16, 8192, 0)),
    method(0, spec.Connection.Open("/")),
]
Q, E, B = spec.Queue, spec.Exchange, spec.Basic
OPENING = [method(1, spec.Channel.Open()), method(2, spec.Channel.Open())]
WORK = [
    method(1, E.Declare(exchange="e", type="topic", arguments={"alternate-exchange": "f"})),
    method(1, E.Declare(exchange="f", type="headers")),
    method(1, E.Bind(source="e", destination="f", routing_key="#")),
    method(
        1,
        Q.Declare(queue="q", durable=True, arguments={"x-max-priority": 5, "x-message-ttl": 60000}),
    ),
    method(
        1,
        Q.Declare(
            queue="r", durable=True, arguments={"x-max-length": 3, "x-dead-letter-exchange": "e"}
        ),
    ),
    method(1, Q.Bind(queue="q", exchange="e", routing_key="a.#")),
    method(1, Q.Bind(queue="r", exchange="f", arguments={"x-match": "any", "h": [1, {"a": None}]})),
    method(1, spec.Confirm.Select()),
    method(1, B.Publish(exchange="e", routing_key="a.b", mandatory=True))
    + content(1, b"body", headers={"h": 1, "CC": ["q"]}, priority=3, expiration="100"),
    method(1, B.Publish(exchange="", routing_key="r")) + content(1, b"x" * 300),
    method(1, B.Get(queue="q")),
    method(1, B.Ack(1)),
    method(1, B.Qos(prefetch_count=2)),
    method(1, B.Consume(queue="r", consumer_tag="c", arguments={"x-priority": 2})),
    method(1, B.Nack(2, multiple=True, requeue=True)),
    method(1, B.Recover(requeue=True)),
    method(1, B.Cancel("c")),
    method(2, spec.Tx.Select()),
    method(2, B.Publish(exchange="", routing_key="q")) + content(2, b"tx", reply_to="x"),
    method(2, spec.Tx.Commit()),
    method(2, B.Reject(1, requeue=False)),
    method(2, Q.Purge(queue="q")),
    method(2, Q.Delete(queue="r")),
    method(2, E.Delete(exchange="e")),
    pika.frame.Heartbeat().marshal(),
    method(2, spec.Channel.Close(200, "", 0, 0)),
]
PUBLISHED = [
    method(1, B.Publish(exchange="", routing_key="p")) + content(1, b"plain", **properties)
    for properties in ({}, {"correlation_id": "1", "reply_to": "r"}, {"expiration": "9"}, {})
]
PLAIN = [
    *(
        method(1, Q.Declare(queue="p", durable=True)),
        method(1, B.Consume(queue="p", consumer_tag="p")),
    ),
    *(*PUBLISHED, method(1, B.Ack(1)), method(1, B.Ack(2)), *PUBLISHED, method(1, B.Ack(3))),
]
"""Publishes that are read at once; see `postage.broker.wire.framing`."""
EVERY = list(METHODS.values())
CALLS = [each for each in EVERY if each.class_id > 10 and "_ok" not in each.name]
SIZES = dict(zip("tbBsuIilLfdDTV", (1, 1, 1, 2, 2, 4, 4, 8, 8, 4, 8, 5, 8, 0), strict=True))
"""Bytes of the values in tables; other types begin with their length."""
INTERESTING = (0, 1, 2, 3, 8, 10, 20, 40, 50, 60, 85, 90, 0x7F, 0x80, 0xCE, 0xFF)


class Fuzzer:
    """Draws inputs, and feeds each to a new connection on the same broker."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self.timers = ManualTimers()
        self.node = self._new_node()
        self.inputs = 0
        self.longest = self.opened = 0

    def _new_node(self) -> Node:
        return Node(self.timers, LIMITS)

    def run(self, inputs: int, *, until: float = float("inf")) -> None:
        """Feed *inputs* inputs, or fewer if it is *until* before; raise if anything is wrong."""
        while self.inputs < inputs and time.monotonic() < until:
            if self.inputs % 500 == 0:
                self.node = self._new_node()
            self.one()

    def one(self) -> None:
        """Feed one input."""
        self.inputs += 1
        connection = self.node.open_connection(lambda: None)
        data = self.draw()
        try:
            self._feed(connection, data)
        except BaseException:
            sys.stderr.write(f"input {self.inputs}: {data!r}\n")
            raise
        connection.close()
        connection.take_output()
        assert self.node.memory <= 4 * LIMITS.memory, f"{self.node.memory} bytes are queued"
        assert len(self.node.vhosts["/"].queues) <= LIMITS.queues
        assert not self.node.connections

    def _feed(self, connection: ClientConnection, data: bytes) -> None:
        written, at = 0, 0
        while at < len(data):
            size = self._random.choice((1, 7, 100, 5000, 5000, 5000))
            connection.feed(data[at : at + size])
            at += size
            written += len(connection.take_output())
            assert written <= OUTPUT, f"{written} bytes written for {len(data)}"
        assert len(connection.channels) <= LIMITS.channels
        if self._random.random() < 0.05:
            self.timers.advance(self._random.choice((0.1, 1.0, 100.0)))
        self.longest = max(self.longest, written)
        self.opened += connection.stage is Stage.OPEN
        assert isinstance(connection.stage, Stage)

    # --- drawing

    def draw(self) -> bytes:
        """Return one input; nearly always the handshake in it is valid."""
        start = [] if self._random.random() < 0.1 else GREETING
        kind = self._random.choice((self._flipped, self._spliced, self._frames, self._methods))
        return b"".join(start) + kind()

    def _some(self) -> list[bytes]:
        first = self._random.randrange(8)
        plain = self._random.choice(([], PLAIN))
        return (
            OPENING
            + WORK[:first]
            + plain
            + self._random.sample(WORK, self._random.randrange(1, 12))
        )

    def _flipped(self) -> bytes:
        """Return valid methods with some bytes changed, and sometimes without their end."""
        pieces = self._some()
        data = bytearray(b"".join(pieces))
        for _ in range(self._random.choice((1, 1, 2, 5, 20))):
            at = self._random.randrange(len(data))
            if self._random.random() < 0.5:
                data[at] ^= 1 << self._random.randrange(8)
            else:
                data[at] = self._random.choice(INTERESTING)
        if self._random.random() < 0.3:
            del data[self._random.randrange(len(data)) :]
        return bytes(data)

    def _spliced(self) -> bytes:
        """Return parts of valid methods, cut anywhere: after a cut hardly anything is valid."""
        parts = []
        for _ in range(self._random.randrange(1, 6)):
            data = b"".join(self._some())
            one, other = sorted(self._random.randrange(len(data) + 1) for _ in range(2))
            parts.append(data[one:other])
        return b"".join(OPENING + WORK[:4] + parts)

    def _frames(self) -> bytes:
        """Return valid frames with changed payloads, which the frame parser accepts."""
        frames = []
        for piece in self._some():
            kind, channel, size = struct.unpack_from(">BHI", piece)
            payload = bytearray(piece[7 : 7 + size])
            for _ in range(self._random.choice((0, 0, 0, 0, 0, 0, 0, 1, 3))):
                if payload:
                    place = self._random.randrange(min(4, len(payload) - 1), len(payload))
                    payload[place] = self._random.choice(
                        (*INTERESTING, self._random.randrange(256))
                    )
            if self._random.random() < 0.02:
                del payload[self._random.randrange(len(payload) + 1) :]
            rest = piece[8 + size :]
            frames.append(frame(kind, channel, bytes(payload)) + rest)
        return b"".join(frames)

    def _methods(self) -> bytes:
        """Return methods of any kind with random arguments."""
        frames = OPENING + WORK[:6]
        for _ in range(self._random.randrange(1, 8)):
            known = self._random.choice(CALLS if self._random.random() < 0.95 else EVERY)
            kinds = itertools.groupby(kind for _, kind in known.arguments)
            payload = struct.pack(">HH", *known.ids) + b"".join(
                self._argument(kind)
                for kind, group in kinds
                for _ in (group if kind != "bit" else "1")  # bits share an octet
            )
            channel = self._random.choice((1,) * 20 + (2,) * 20 + (0, 3, 65535))
            frames = [
                *frames,
                frame(self._random.choice((1, 1, 1, 1, 1, 2, 3, 8)), channel, payload),
            ]
        return b"".join(frames)

    def _argument(self, kind: str) -> bytes:
        draw = self._random
        if kind in ("shortstr", "longstr"):
            text = draw.choice((b"", b"q", b"e", b"r", b"amq.topic", draw.randbytes(5), b"z" * 255))
            return (
                bytes((len(text),)) if kind == "shortstr" else struct.pack(">I", len(text))
            ) + text
        if kind in ("table", "rawtable"):
            return self._table(draw.choice((0, 1, 3, 20)))
        return draw.randbytes({"octet": 1, "bit": 1, "short": 2, "long": 4, "longlong": 8}[kind])

    def _table(self, depth: int) -> bytes:
        """Return a table that nests *depth* times, sometimes with a wrong length."""
        fields = [b"\x01a" + self._value() for _ in range(self._random.randrange(3))]
        if depth:
            inner = self._table(depth - 1)
            nested = b"A" + struct.pack(">I", len(inner) + 1) + b"F" + inner
            fields.append(b"\x01n" + self._random.choice((b"F" + inner, nested)))
        data = b"".join(fields)
        wrong = self._random.choice((0,) * 100 + (1, -1, 1000))
        return struct.pack(">I", max(0, len(data) + wrong)) + data

    def _value(self) -> bytes:
        kind = self._random.choice("tbBsuIilLfdDTSxAFVtbBsuIilLfdDTSxAFVzq")
        size = SIZES.get(kind)
        return kind.encode() + (b"\0\0\0\0" if size is None else self._random.randbytes(size))


def frame(kind: int, channel: int, payload: bytes) -> bytes:
    """Return a frame."""
    return struct.pack(">BHI", kind, channel, len(payload)) + payload + b"\xce"


def main() -> None:
    """Feed many inputs within a limited time."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    fuzzer, begun = Fuzzer(options.seed), time.monotonic()
    fuzzer.run(options.inputs, until=begun + options.seconds)
    seconds = time.monotonic() - begun
    sys.stdout.write(
        f"{fuzzer.inputs} inputs in {seconds:.0f} s; {fuzzer.opened} connections were open at "
        f"the end of theirs; at most {fuzzer.longest} bytes were written\n"
    )


if __name__ == "__main__":
    main()
