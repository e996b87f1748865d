"""A client that costs little: one call to each of many queues, all at once, and their answers.

Frames are made in advance.  An answer is recognized by its text, the name of the queue, at any
place of the message.
"""

from __future__ import annotations

import json
import re
import select
import socket
import time
from collections.abc import Sequence
from typing import Any

import pika.frame
import pika.spec as amqp

from benchmarks.fleets import EXCHANGE
from benchmarks.wire import Wire
from postage.message import RpcCommand

TIMEOUT = 120.0
"""Seconds to wait for all answers."""


class Calls:
    """Calls each of *queues* on the broker on *port*; blocks the thread."""

    def __init__(self, port: int, queues: Sequence[str]) -> None:
        self._queues = queues
        prefix = queues[0].rpartition("-")[0]
        self._wire = Wire(port, f"{prefix}-answers")
        self._wire.declare()
        self._wire.subscribe(no_ack=True)
        self._text = re.compile(rb'value": ?"(%s-\d+)"' % re.escape(prefix).encode())
        message = RpcCommand("name")
        message.fingerprint({"name": "benchmark"})
        body = json.dumps(message.body).encode()
        self._frames = b"".join(published(queue, self._wire.queue, body) for queue in queues)

    def make(self) -> None:
        """Call all queues; return when each has answered once, with its own name."""
        missing = {queue.encode() for queue in self._queues}
        sock, unsent, rest = self._wire.socket, memoryview(self._frames), b""
        deadline = time.monotonic() + TIMEOUT
        while missing:
            readable, writable, _ = select.select([sock], [sock] if unsent else [], [], 1.0)
            if writable:
                unsent = unsent[sock.send(unsent, socket.MSG_DONTWAIT) :]
            if readable:
                rest += sock.recv(1 << 18)
                missing.difference_update(self._text.findall(rest))
                rest = rest[-2000:]  # a whole answer, which may have arrived in parts
            if time.monotonic() > deadline:
                raise TimeoutError(f"{len(missing)} of {len(self._queues)} did not answer")

    def clean(self) -> None:
        """Delete all queues, and close."""
        for queue in self._queues:
            send(self._wire.socket, amqp.Queue.Delete(queue=queue, nowait=True))
        self._wire.declare()  # the broker answers it after the rest
        self._wire.delete()


def published(queue: str, reply_to: str, body: bytes) -> bytes:
    """Return the frames of one call."""
    properties = amqp.BasicProperties(
        content_type="application/json", correlation_id=queue, reply_to=reply_to
    )
    frames = (
        pika.frame.Method(1, amqp.Basic.Publish(exchange=EXCHANGE, routing_key=queue)),
        pika.frame.Header(1, len(body), properties),
        pika.frame.Body(1, body),
    )
    return b"".join(frame.marshal() for frame in frames)


def send(sock: socket.socket, method: Any) -> None:
    """Write *method* on channel 1."""
    sock.sendall(pika.frame.Method(1, method).marshal())
