"""The classic API of Postage: a call with parameters, whose types nobody checks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from benchmarks.job import Job
from benchmarks.peers.postage import addressed_to, sender
from postage import green, messaging


class Server(messaging.MessageProcessor):
    """Answers calls."""

    @messaging.RpcHandler("command", "reserve")
    def reserve(self, content: dict[str, Any], _: Callable[[object], None]) -> dict[str, Any]:
        """Answer with what was reserved."""
        parameters = content["parameters"]
        return {"item": parameters["item"], "count": parameters["count"]}


def serve(job: Job) -> None:
    """Answer calls with a processor."""
    server = Server(eqk=addressed_to(job))
    server.concurrency = job.concurrency
    green.run(server)


def open_caller(job: Job) -> Callable[[Any], Any]:
    """Return a caller that many greenlets may share."""
    producer = sender(job)

    def call(payload: dict[str, Any]) -> Any:
        value = producer.rpc_reserve(item="bolt", count=payload["number"]).value
        return payload if value["count"] == payload["number"] else value

    return call
