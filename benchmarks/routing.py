"""The broker's cost of routing with many bindings, and of deleting queues."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence

import pika.frame
import pika.spec as amqp

from benchmarks.growing import Clock, Cost
from benchmarks.wire import BODY, Wire

MESSAGES = 4_000
"""How many messages are published, to all the bindings in turn."""
TIMEOUT = 60.0
"""Seconds until all messages must be in their queue."""
AT_ONCE = 500
"""How many methods are written at once, so that the broker is never far behind."""


def routing(port: int, clock: Clock, name: str, kind: str, count: int) -> Cost:
    """Return the cost, by *clock*, of routing with *count* bindings of an exchange.

    The exchange is of *kind* direct or topic.  Each binding has a key of its own, which one message
    in *count* has.  Each message has another ticket, a field without meaning, because a broker that
    caches routes would otherwise have less to do with few bindings.
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
    deadline = time.monotonic() + TIMEOUT
    while wire.declare() < MESSAGES:  # RabbitMQ answers it before it has done the rest
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
    """Write *frames*, and return when the broker has executed them."""
    waiting = [*frames]
    for start in range(0, len(waiting), AT_ONCE):
        wire.socket.sendall(b"".join(waiting[start : start + AT_ONCE]))
        wire.declare()  # the broker answers it after the rest


def method(what: amqp.Any) -> bytes:
    """Return the frame of a method on channel 1."""
    data: bytes = pika.frame.Method(1, what).marshal()
    return data


def message(exchange: str, key: str, ticket: int) -> bytes:
    """Return the frames of one message."""
    header = pika.frame.Header(1, len(BODY), amqp.BasicProperties()).marshal()
    publish = method(amqp.Basic.Publish(ticket=ticket, exchange=exchange, routing_key=key))
    return publish + bytes(header) + bytes(pika.frame.Body(1, BODY).marshal())
