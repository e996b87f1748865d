"""A typed service of Postage and its client, as docs/services.md shows them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from benchmarks.job import Job
from benchmarks.peers.postage import Benchmark, addressed_to
from postage import Service, client, green, rpc


@dataclass
class Reservation:
    """What was reserved."""

    item: str
    count: int


class Stock(Service):
    """Answers calls."""

    @rpc
    def reserve(self, item: str, count: int) -> Reservation:
        """Answer with what was reserved."""
        return Reservation(item, count)


def serve(job: Job) -> None:
    """Answer calls with a service."""
    server = Stock(eqk=addressed_to(job))
    server.concurrency = job.concurrency
    green.run(server)


def open_caller(job: Job) -> Callable[[Any], Any]:
    """Return a caller that many greenlets may share."""
    addressed_to(job)
    stock = client(Stock, exchange=Benchmark, queue=job.queue)

    def call(payload: dict[str, Any]) -> Any:
        reserved = stock.reserve("bolt", count=payload["number"])
        return payload if reserved.count == payload["number"] else reserved

    return call
