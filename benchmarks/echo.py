"""Remote calls over two wires: many callers on one, a server that echoes on the other.

A caller is a call in flight: when its answer has arrived, it calls again.  Requests name the queue
for the answer and have a correlation id of their own; the server acknowledges each.  All frames
have known lengths, so both ends cut out the parts they need.  Together they cost a few microseconds
a call and share a thread, so that the broker has the rest of the machine.
"""

from __future__ import annotations

import select
import time

import pika.spec as amqp

from benchmarks.wire import Wire, acked, delivery_size, published

ID = b"%08d"
"""A correlation id: the number of the call."""
BLANK = ID % 0
WARM_UP = 10
"""Calls of each caller which are not counted."""


class Echo:
    """*callers* calls in flight on the broker on *port*; its queues' names begin with *queue*."""

    def __init__(self, port: int, queue: str, callers: int) -> None:
        self._callers = callers
        self._client, self._server = Wire(port, f"{queue}-answers"), Wire(port, f"{queue}-calls")
        for wire in (self._client, self._server):
            wire.declare()
        self._client.subscribe(no_ack=True)
        self._server.subscribe()
        self._next = self._answered = 0
        self._outstanding: set[bytes] = set()
        self._prepare()

    def _prepare(self) -> None:
        """Split all frames at the places of the correlation id and the delivery tag."""
        calls, answers = self._server.queue, self._client.queue
        asking = amqp.BasicProperties(correlation_id=BLANK.decode(), reply_to=answers)
        answering = amqp.BasicProperties(correlation_id=BLANK.decode())
        self._call = published(calls, asking).split(BLANK)
        self._answer = published(answers, answering).split(BLANK)
        self._ack = acked(1)[:11], acked(1)[19:]  # around the tag of eight bytes
        self._requests = Deliveries(delivery_size(calls, asking), _id_from_end(asking))
        self._replies = Deliveries(delivery_size(answers, answering), _id_from_end(answering))

    def run(self, seconds: float) -> float:
        """Call for *seconds*; return how many calls were answered in a second."""
        self._send_calls(self._callers)
        self._turn_until(lambda: self._answered >= WARM_UP * self._callers)
        before, since = self._answered, time.perf_counter()
        self._turn_until(lambda: time.perf_counter() - since >= seconds)
        return (self._answered - before) / (time.perf_counter() - since)

    def close(self) -> None:
        """Delete the queues and close the connections."""
        for wire in (self._client, self._server):
            wire.close()
            Wire(wire.port, wire.queue).delete()

    def _turn_until(self, over: amqp.Any) -> None:
        poll = select.poll()
        turns = {
            self._client.socket.fileno(): self._on_replies,
            self._server.socket.fileno(): self._on_requests,
        }
        for number in turns:
            poll.register(number, select.POLLIN)
        while not over():
            for number, _ in poll.poll():
                turns[number]()

    def _send_calls(self, count: int) -> None:
        ids = [ID % number for number in range(self._next, self._next + count)]
        self._next += count
        self._outstanding.update(ids)
        before, after = self._call
        self._client.socket.sendall(b"".join([before + each + after for each in ids]))

    def _on_replies(self) -> None:
        ids = [one for one, _ in self._replies.cut(self._client.socket.recv(1 << 18))]
        self._outstanding.difference_update(ids)
        self._answered += len(ids)
        assert len(self._outstanding) == self._callers - len(ids), "an answer to no question"
        self._send_calls(len(ids))

    def _on_requests(self) -> None:
        before, after = self._answer
        begin, end = self._ack
        requests = self._requests.cut(self._server.socket.recv(1 << 18))
        parts = [before + one + after + begin + tag + end for one, tag in requests]
        self._server.socket.sendall(b"".join(parts))


class Deliveries:
    """A stream of deliveries that are *size* bytes each, the id so many bytes from the end."""

    def __init__(self, size: int, id_from_end: int) -> None:
        self._size, self._id = size, size - id_from_end
        self._rest = b""

    def cut(self, data: bytes) -> list[tuple[bytes, bytes]]:
        """Return the correlation id and the delivery tag of each delivery that *data* completes."""
        data = self._rest + data
        size, at = self._size, self._id
        whole = len(data) - len(data) % size
        self._rest = data[whole:]
        return [
            (data[start + at : start + at + 8], data[start + 13 : start + 21])
            for start in range(0, whole, size)
        ]


def _id_from_end(properties: amqp.BasicProperties) -> int:
    """Return how far before the end of a message with *properties* its correlation id begins."""
    message = published("", properties)
    return len(message) - message.index(BLANK)
