"""Postage, as its README shows it, with its defaults."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import gevent

from benchmarks.job import EXCHANGE, Job
from postage import green, messaging


class Benchmark(messaging.Exchange):
    """The exchange of all benchmarks."""

    name = EXCHANGE


def addressed_to(job: Job) -> list[Any]:
    """Return the `eqk` of the processor of *job*, and use the broker of *job*."""
    os.environ["POSTAGE_URL"] = job.url
    queue = {"name": job.queue, "flags": {"durable": job.persistent}}
    return [(Benchmark, [(queue, job.queue)])]


class Server(messaging.MessageProcessor):
    """Answers RPCs with their own parameters."""

    pause = 0.0

    @messaging.RpcHandler("command", "echo")
    def echo(self, content: dict[str, Any], reply_func: Callable[[object], None]) -> None:
        """Answer."""
        if self.pause:
            gevent.sleep(self.pause)
        reply_func(content["parameters"])


def serve(job: Job) -> None:
    """Answer requests with a processor."""
    server = Server(eqk=addressed_to(job))
    server.pause, server.concurrency = job.pause, job.concurrency
    green.run(server)


class Sender(messaging.GenericProducer):
    """Sends to the queue of the round."""


def sender(job: Job) -> Sender:
    """Return a producer."""
    os.environ["POSTAGE_URL"] = job.url
    Sender.eks = [(Benchmark, job.queue)]
    return Sender()


def open_caller(job: Job) -> Callable[[Any], Any]:
    """Return a caller that many greenlets may share."""
    if job.polling:
        gevent.get_hub().loop.idle().start(lambda: None)
    producer = sender(job)
    return lambda payload: producer.rpc_echo(payload).value


def open_publisher(job: Job) -> Callable[[Any], None]:
    """Return a function for many greenlets."""
    producer = sender(job)
    producer.confirm = job.confirm
    producer.delivery_mode = 2 if job.persistent else 1
    publish: Callable[[Any], None] = producer.message_take
    return publish


class Consumer(messaging.MessageProcessor):
    """Gives every payload to its function, and ends when that returns False."""

    handle: Callable[[Any], bool]

    @messaging.MessageHandler("command", "take")
    def take(self, content: dict[str, Any]) -> None:
        """Handle one message."""
        if not self.handle(content["parameters"]):
            raise StopIteration


def consume(job: Job, handle: Callable[[Any], bool]) -> None:
    """Handle messages with a processor."""
    consumer = Consumer(eqk=addressed_to(job))
    consumer.handle, consumer.concurrency = handle, job.concurrency
    green.run(consumer)
