"""A client that costs next to nothing: frames made in advance, answers counted by their length.

It blocks its thread, knows only the frames of its own small messages, and is the same for every
broker, so it measures the broker.
"""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Iterable

import pika.frame
import pika.spec as amqp

BODY = b"x" * 100
"""The body of every message: small, so that the broker's own work takes the time."""
CHUNK = 100
"""Messages that are written at once."""
TAG = "c"
"""The tag of every consumer."""


class Wire:
    """One connection with one channel and the queue *queue*, empty at first; blocks the thread."""

    def __init__(self, port: int, queue: str) -> None:
        self.port, self.queue = port, queue
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._rest = b""
        self._open()
        self._call(1, amqp.Channel.Open(), amqp.Channel.OpenOk)

    def _open(self) -> None:
        self.socket.sendall(b"AMQP\x00\x00\x09\x01")
        self.server = self._wait_for(amqp.Connection.Start).server_properties
        self._send(0, amqp.Connection.StartOk({}, "PLAIN", "\0guest\0guest", "en_US"))
        self._wait_for(amqp.Connection.Tune)
        self._send(0, amqp.Connection.TuneOk(2047, 131072, 0))
        self._call(0, amqp.Connection.Open("/"), amqp.Connection.OpenOk)

    def declare(self) -> int:
        """Declare the queue; return how many messages are in it."""
        declare = amqp.Queue.Declare(queue=self.queue, durable=True)
        answer = self._call(1, declare, amqp.Queue.DeclareOk)
        return int(answer.message_count)

    def delete(self) -> None:
        """Delete the queue and close the connection."""
        self._call(1, amqp.Queue.Delete(queue=self.queue), amqp.Queue.DeleteOk)
        self.close()

    def close(self) -> None:
        """Close the socket."""
        self.socket.close()

    def publish(self, count: int) -> float:
        """Publish *count* messages; return the seconds until all were in the queue."""
        chunk = published(self.queue, amqp.BasicProperties()) * CHUNK
        before = self.declare()
        since = time.perf_counter()
        for _ in range(count // CHUNK):
            self.socket.sendall(chunk)
        while self.declare() < before + count:
            pass
        return time.perf_counter() - since

    def consume(self, count: int) -> float:
        """Consume *count* messages, acknowledging each by itself; return the seconds."""
        self._call(1, amqp.Basic.Qos(prefetch_count=1000), amqp.Basic.QosOk)
        size, seen, received = delivery_size(self.queue, amqp.BasicProperties()), 0, 0
        each = len(acked(1))
        acks = memoryview(b"".join(acked(tag) for tag in range(1, count + 1)))
        since = time.perf_counter()
        self.subscribe()
        while seen < count:
            received += len(self.socket.recv(1 << 18))
            now = received // size
            self.socket.sendall(acks[seen * each : now * each])
            seen = now
        return time.perf_counter() - since

    def subscribe(self, *, no_ack: bool = False) -> None:
        """Consume from the queue; the only answers are the messages."""
        consume = amqp.Basic.Consume(queue=self.queue, consumer_tag=TAG, no_ack=no_ack, nowait=True)
        self._send(1, consume)

    def _send(self, channel: int, method: amqp.Any) -> None:
        self.socket.sendall(pika.frame.Method(channel, method).marshal())

    def _call(self, channel: int, method: amqp.Any, answer: type) -> amqp.Any:
        self._send(channel, method)
        return self._wait_for(answer)

    def _wait_for(self, kind: type) -> amqp.Any:
        while True:
            used, frame = pika.frame.decode_frame(self._rest)
            if frame is None:
                self._rest += self.socket.recv(1 << 16)
                continue
            self._rest = self._rest[used:]
            if isinstance(getattr(frame, "method", None), kind):
                return frame.method


def published(queue: str, properties: amqp.BasicProperties) -> bytes:
    """Return the frames that publish one message to *queue*."""
    return _frames(amqp.Basic.Publish(routing_key=queue), properties)


def delivery_size(queue: str, properties: amqp.BasicProperties) -> int:
    """Return the length of one delivery from *queue*; it is the same for all."""
    return len(_frames(amqp.Basic.Deliver(TAG, 1, False, "", queue), properties))  # noqa: FBT003


def acked(tag: int) -> bytes:
    """Return the frame that acknowledges one delivery; all are of the same length."""
    data: bytes = pika.frame.Method(1, amqp.Basic.Ack(tag)).marshal()
    return data


def _frames(method: amqp.Any, properties: amqp.BasicProperties) -> bytes:
    frames = (
        pika.frame.Method(1, method),
        pika.frame.Header(1, len(BODY), properties),
        pika.frame.Body(1, BODY),
    )
    return b"".join(frame.marshal() for frame in frames)


def hear_nothing(wires: Iterable[Wire]) -> bool:
    """Whether all *wires* are still connected: none has anything to read."""
    poll = select.poll()
    for wire in wires:
        poll.register(wire.socket, select.POLLIN)
    return not poll.poll(0)
