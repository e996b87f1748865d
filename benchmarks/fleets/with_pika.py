"""Queues on one channel of pika's GeventConnection, each with its consumer: the bare minimum."""

from __future__ import annotations

from gevent import monkey

monkey.patch_all()

import itertools  # noqa: E402 - after patching
import json  # noqa: E402
from collections.abc import Callable  # noqa: E402
from functools import partial  # noqa: E402
from typing import Any  # noqa: E402

import pika  # noqa: E402
from gevent.event import Event  # noqa: E402

from benchmarks.fleets import EXCHANGE, PREFETCH, arguments  # noqa: E402
from benchmarks.peers.gevent_connection import channel_to  # noqa: E402


def answer(name: str, channel: Any, method: Any, properties: Any, body: bytes) -> None:
    """Answer one call with *name*, and acknowledge it."""
    json.loads(body)
    same_id = pika.BasicProperties(correlation_id=properties.correlation_id)
    reply = json.dumps({"value": name}).encode()
    channel.basic_publish("", properties.reply_to, reply, same_id)
    channel.basic_ack(method.delivery_tag)


def each(names: list[str], ask: Callable[[str, Callable[..., Any]], object]) -> None:
    """Let *ask* send a request to the broker for each name, and wait for all answers."""
    answered, all_answered = itertools.count(1), Event()

    def on_answer(_frame: object) -> None:
        if next(answered) == len(names):
            all_answered.set()

    for name in names:
        ask(name, on_answer)
    all_answered.wait()


def main() -> None:
    """Run."""
    url, names = arguments()
    channel = channel_to(url)
    channel.exchange_declare(EXCHANGE, durable=True)
    for name in names:
        channel.queue_declare(name, durable=True, callback=print_nothing)
    each(names, lambda name, done: channel.queue_bind(name, EXCHANGE, name, callback=done))
    print("declared", flush=True)
    channel.basic_qos(prefetch_count=PREFETCH)
    for name in names:
        channel.basic_consume(name, partial(answer, name))
    Event().wait()


def print_nothing(_frame: object) -> None:
    """Ignore an answer of the broker that nothing waits for."""


main()
