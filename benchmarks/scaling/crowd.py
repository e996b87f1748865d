"""Calls from several processes to several processes, which share one queue."""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from benchmarks.actor import Actor, acting
from benchmarks.broker import Target
from benchmarks.environments import command
from benchmarks.job import Job
from benchmarks.measure import cpu_seconds
from benchmarks.queue import Queue

CALLERS = 50
"""Callers at once in each process that calls."""
TIMEOUT = 60.0
"""Seconds that a process may be silent in addition to its planned time."""


@dataclass(frozen=True, kw_only=True)
class Crowd:
    """What so many processes did on each side."""

    processes: int
    rate: float
    """Calls in a second, of all."""
    p50: float
    """Milliseconds: the median of the processes' medians."""
    p99: float
    """Milliseconds: that of the slowest process."""
    client: float
    """Microseconds of processor time for a call, in the processes that call."""
    server: float
    """The same in those that answer."""
    broker: float
    """The same in all nodes of the broker."""
    busy: float
    """How many processors all of them together kept busy."""


def crowd(nodes: Sequence[Target], processes: int, seconds: float, peer: str) -> Crowd:
    """Let *processes* call for so many *seconds*, and as many answer; they take turns at *nodes*.

    *peer* is the module of `benchmarks.peers` that serves and calls.
    """
    name = f"postage-benchmark-{os.getpid()}"

    def job(role: str, number: int) -> Job:
        url = nodes[number % len(nodes)].url
        return Job(
            peer, "green", role, url, name, callers=CALLERS, seconds=seconds, operations=500_000
        )

    def started(role: str) -> list[Actor]:
        jobs = [job(role, number) for number in range(processes)]
        return [
            stack.enter_context(acting(command(sys.executable, each), each.seconds + TIMEOUT))
            for each in jobs
        ]

    queue = Queue(nodes[0].url, name)
    with ExitStack() as stack:
        stack.callback(queue.remove)
        servers = started("serve")
        queue.wait_for_consumers(processes, TIMEOUT)
        clients = started("call")
        for each in clients:
            each.report()
        pids = {
            "client": [each.pid for each in clients],
            "server": [each.pid for each in servers],
            "broker": [each.pid for each in nodes if each.pid is not None],
        }
        before, since = _clocks(pids), time.perf_counter()
        for each in clients:
            each.go_on()
        told = [each.report() for each in clients]
        took, after = time.perf_counter() - since, _clocks(pids)
    used = {name: after[name] - before[name] for name in pids}
    return _summary(processes, told, took, used)


def _clocks(pids: dict[str, list[int]]) -> dict[str, float]:
    return {name: sum(map(cpu_seconds, each)) for name, each in pids.items()}


def _summary(
    processes: int, told: Sequence[dict[str, Any]], took: float, used: dict[str, float]
) -> Crowd:
    count = sum(each["count"] for each in told)
    return Crowd(
        processes=processes,
        rate=count / took,
        p50=statistics.median(each["p50"] for each in told),
        p99=max(each["p99"] for each in told),
        busy=sum(used.values()) / took,
        **{name: seconds / count * 1e6 for name, seconds in used.items()},
    )
