"""A client that costs next to nothing: frames made in advance, answers counted by their length."""

from __future__ import annotations

import select
import socket
from collections.abc import Iterable

import pika.frame
import pika.spec as amqp

BODY = b"x" * 100
"""Of every message: small, so that the broker's own work is what takes time."""
CHUNK = 100
"""Messages written in one piece."""


class Wire:
    """One connection with one channel and the queue *queue*, empty at first; blocks the thread."""

    def __init__(self, port: int, queue: str) -> None:
        self.queue = queue
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._rest = b""
        self._open()
        self._call(1, amqp.Channel.Open(), amqp.Channel.OpenOk)

    def _open(self) -> None:
        self._socket.sendall(b"AMQP\x00\x00\x09\x01")
        self._wait_for(amqp.Connection.Start)
        self._send(0, amqp.Connection.StartOk({}, "PLAIN", "\0guest\0guest", "en_US"))
        self._wait_for(amqp.Connection.Tune)
        self._send(0, amqp.Connection.TuneOk(2047, 131072, 0))
        self._call(0, amqp.Connection.Open("/"), amqp.Connection.OpenOk)

    def declare(self) -> int:
        """Declare the queue; return how many messages are in it."""
        answer = self._call(1, amqp.Queue.Declare(queue=self.queue), amqp.Queue.DeclareOk)
        return int(answer.message_count)

    def delete(self) -> None:
        """Delete the queue and close the connection."""
        self._call(1, amqp.Queue.Delete(queue=self.queue), amqp.Queue.DeleteOk)
        self.close()

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def publish(self, count: int) -> None:
        """Publish *count* messages; return when they are in the queue."""
        properties = amqp.BasicProperties()
        one = b"".join(
            frame.marshal()
            for frame in (
                pika.frame.Method(1, amqp.Basic.Publish(routing_key=self.queue)),
                pika.frame.Header(1, len(BODY), properties),
                pika.frame.Body(1, BODY),
            )
        )
        chunk = one * CHUNK
        before = self.declare()
        for _ in range(count // CHUNK):
            self._socket.sendall(chunk)
        while self.declare() < before + count:
            pass

    def consume(self, count: int) -> None:
        """Take *count* messages, each acknowledged for itself."""
        self._call(1, amqp.Basic.Qos(prefetch_count=1000), amqp.Basic.QosOk)
        acks = [pika.frame.Method(1, amqp.Basic.Ack(tag)).marshal() for tag in range(1, count + 1)]
        self._send(1, amqp.Basic.Consume(queue=self.queue, consumer_tag="c", nowait=True))
        size, seen, received = self._delivery_size(), 0, 0
        while seen < count:
            received += len(self._socket.recv(1 << 18))
            now = received // size
            self._socket.sendall(b"".join(acks[seen:now]))
            seen = now

    def _delivery_size(self) -> int:
        """Return the length of one delivery; all are of the same."""
        frames = (
            pika.frame.Method(1, amqp.Basic.Deliver("c", 1, False, "", self.queue)),  # noqa: FBT003
            pika.frame.Header(1, len(BODY), amqp.BasicProperties()),
            pika.frame.Body(1, BODY),
        )
        return sum(len(frame.marshal()) for frame in frames)

    def _send(self, channel: int, method: amqp.Any) -> None:
        self._socket.sendall(pika.frame.Method(channel, method).marshal())

    def _call(self, channel: int, method: amqp.Any, answer: type) -> amqp.Any:
        self._send(channel, method)
        return self._wait_for(answer)

    def _wait_for(self, kind: type) -> amqp.Any:
        while True:
            used, frame = pika.frame.decode_frame(self._rest)
            if frame is None:
                self._rest += self._socket.recv(1 << 16)
                continue
            self._rest = self._rest[used:]
            if isinstance(getattr(frame, "method", None), kind):
                return frame.method


def hear_nothing(wires: Iterable[Wire]) -> bool:
    """Whether all *wires* are still connected: none has anything to read."""
    poll = select.poll()
    for wire in wires:
        poll.register(wire._socket, select.POLLIN)  # noqa: SLF001 - of the same module
    return not poll.poll(0)
