"""Processors that record what their handlers do."""

from __future__ import annotations

from typing import Any

from postage import messaging
from tests.support.endpoints import Endpoint
from tests.support.running import running

Handles = messaging.MessageHandler
Answers = messaging.RpcHandler


class Recorder(messaging.MessageProcessor):
    """Its handlers append to `seen`."""

    def __init__(self, *args: Any, **kwds: Any) -> None:
        self.seen: list[Any] = []
        super().__init__(*args, **kwds)

    @messaging.RpcHandler("command", "echo")
    def echo(self, content, reply_func):
        reply_func(content["parameters"])


def at(endpoint: Endpoint, kind: type[Any] = Recorder, eqk: Any = None) -> Any:
    """Return a processor of *kind* that consumes at *endpoint*."""
    return kind({"name": kind.__name__}, endpoint.eqk if eqk is None else eqk, None, None)


def through(endpoint: Endpoint, processor: Any, send: Any) -> list[Any]:
    """Run *processor*, call ``send(producer)``, and return `seen` when everything is handled."""
    processor.concurrency = 1
    processor.consumer.prefetch = 1
    producer = endpoint.producer()
    with running(processor):
        send(producer)
        assert producer.rpc_echo("the end").value == "the end"
    seen: list[Any] = processor.seen
    return seen
