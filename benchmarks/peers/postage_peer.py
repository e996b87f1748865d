"""Postage, as its README shows it."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from benchmarks.peers import Call, Handle, Payload, Publish
from benchmarks.workload import EXCHANGE, PREFETCH
from postage import green, messaging


class Benchmark(messaging.Exchange):
    """The exchange of all benchmarks."""

    name = EXCHANGE
    durable = False


def addressed_to(queue: str) -> list[Any]:
    """Return where the processor of *queue* listens."""
    return [(Benchmark, [({"name": queue, "flags": {"durable": False}}, queue)])]


class Server(messaging.MessageProcessor):
    """Answers RPCs with their own parameters."""

    concurrency = PREFETCH

    @messaging.RpcHandler("command", "echo")
    def echo(self, content: dict[str, Any], reply_func: Callable[[object], None]) -> None:
        """Answer."""
        reply_func(content["parameters"])


def serve(url: str, queue: str) -> None:
    """Answer requests with a processor."""
    os.environ["POSTAGE_URL"] = url
    server = Server({}, addressed_to(queue), None, None)
    print("ready", flush=True)
    green.run(server)


class Sender(messaging.GenericProducer):
    """Sends to the queue of the run."""


def sender(url: str, queue: str) -> Sender:
    """Return a producer."""
    os.environ["POSTAGE_URL"] = url
    Sender.eks = [(Benchmark, queue)]
    return Sender()


def open_caller(url: str, queue: str) -> Call:
    """Return a caller that many greenlets may share."""
    producer = sender(url, queue)

    def call(payload: Payload) -> Payload:
        answer: Payload = producer.rpc_echo(payload).body["content"]["value"]
        return answer

    return call


def open_publisher(url: str, queue: str, *, confirm: bool) -> Publish:
    """Return a function for many greenlets."""
    producer = sender(url, queue)
    producer.confirm = confirm
    publish: Publish = producer.message_take
    return publish


class Consumer(messaging.MessageProcessor):
    """Gives every payload to its function, and ends when that returns False."""

    concurrency = PREFETCH
    handle: Handle

    @messaging.MessageHandler("command", "take")
    def take(self, content: dict[str, Any]) -> None:
        """Handle one message."""
        if not self.handle(content["parameters"]):
            raise StopIteration


def consume(url: str, queue: str, handle: Handle) -> None:
    """Handle messages with a processor."""
    os.environ["POSTAGE_URL"] = url
    consumer = Consumer({}, addressed_to(queue), None, None)
    consumer.handle = handle
    green.run(consumer)
