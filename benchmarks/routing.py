"""What a broker spends on a message, with many bindings to choose from; and deleting queues."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence

import pika.frame
import pika.spec as amqp

from benchmarks.growing import Clock, Cost
from benchmarks.wire import BODY, Wire

MESSAGES = 4_000
"""So many are published, to all the bindings in turn."""
PATIENCE = 60.0
"""Seconds until all of them must be in their queue."""
AT_ONCE = 500
"""Methods written in one piece, so that the broker is never far behind."""


def routing(port: int, clock: Clock, name: str, kind: str, count: int) -> Cost:
    """Return what *clock* says of routing *count* messages with as many bindings of an exchange.

    It is of *kind* direct or topic; each binding is for another key, which one message in *count*
    has.  The ticket of each, which means nothing, is another one, lest a broker that remembers the
    way of a message has less to do while there are few.
    """
    exchange = f"{name}-{kind}"
    wire = Wire(port, name)
    wire.declare()
    declare = amqp.Exchange.Declare(exchange=exchange, type=kind, nowait=True)
    keys = [f"{name}.{number}.x" for number in range(count)]
    patterns = [key.replace(".x", ".*") for key in keys] if kind == "topic" else keys
    bind = (
        amqp.Queue.Bind(queue=name, exchange=exchange, routing_key=pattern, nowait=True)
        for pattern in patterns
    )
    written(wire, [method(declare), *map(method, bind)])
    messages = [message(exchange, keys[number % count], number) for number in range(MESSAGES)]
    clock.lap()
    written(wire, messages)
    deadline = time.monotonic() + PATIENCE
    while wire.declare() < MESSAGES:  # which RabbitMQ answers before it has done the rest
        if time.monotonic() > deadline:
            raise TimeoutError("not every message was routed")
    cpu, wall = clock.lap()
    written(wire, [method(amqp.Exchange.Delete(exchange=exchange, nowait=True))])
    wire.delete()
    return cpu / MESSAGES * count, wall / MESSAGES * count


def deletion(port: int, queues: Sequence[str]) -> None:
    """Delete *queues*."""
    wire = Wire(port, f"{queues[0]}-deleting")
    wire.declare()
    written(wire, (method(amqp.Queue.Delete(queue=queue, nowait=True)) for queue in queues))
    wire.delete()


def written(wire: Wire, frames: Iterable[bytes]) -> None:
    """Write *frames*; return when the broker has done what they ask for."""
    waiting = [*frames]
    for start in range(0, len(waiting), AT_ONCE):
        wire.socket.sendall(b"".join(waiting[start : start + AT_ONCE]))
        wire.declare()  # the answer comes when the rest is done


def method(what: amqp.Any) -> bytes:
    """Return the frame of a method on channel 1."""
    data: bytes = pika.frame.Method(1, what).marshal()
    return data


def message(exchange: str, key: str, ticket: int) -> bytes:
    """Return the frames of one message."""
    header = pika.frame.Header(1, len(BODY), amqp.BasicProperties()).marshal()
    publish = method(amqp.Basic.Publish(ticket=ticket, exchange=exchange, routing_key=key))
    return publish + bytes(header) + bytes(pika.frame.Body(1, BODY).marshal())
