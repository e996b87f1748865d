"""nameko: calls with keywords, whose types nobody checks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from eventlet.event import Event
from nameko.rpc import rpc

from benchmarks.job import Job
from benchmarks.peers.nameko import proxy_of, run


def serve(job: Job) -> None:
    """Answer calls with a service; its queue is its name after ``rpc-``."""

    class Server:
        name = job.queue

        @rpc
        def reserve(self, item: str, count: int) -> dict[str, Any]:
            return {"item": item, "count": count}

    run(Server, job, Event())


def open_caller(job: Job) -> Callable[[Any], Any]:
    """Return a service's proxy to another service; its workers share one reply queue."""
    stock = proxy_of(job)

    def call(payload: dict[str, Any]) -> Any:
        reserved = stock.reserve("bolt", count=payload["number"])
        return payload if reserved["count"] == payload["number"] else reserved

    return call
