"""A program that calls one of many processors repeatedly, and then each once, all at once."""

from __future__ import annotations

import statistics
import time

import gevent

from benchmarks.growing import Cost, report, told
from benchmarks.growing.parts import Caller, wait_for_all
from benchmarks.tally import percentile

ROUNDS, CALLS = 5, 400
"""How many rounds of how many calls, one after the other; the median of the rounds counts."""


def main() -> None:
    """Run."""
    task = told()
    caller = Caller()
    for _ in range(2):  # the first call to a destination has a reply queue of its own
        _timed(caller, task.names[0])
    clocks = task.clocks()
    p50, p99 = (
        statistics.median(each) for each in zip(*_rounds(caller, task.names[0]), strict=True)
    )
    costs: dict[str, Cost] = {}
    for name, clock in clocks.items():
        cpu, wall = clock.lap()
        for_all = task.count / (ROUNDS * CALLS)
        costs[f"{name} one of many"] = cpu * for_all, wall * for_all
    calls = [gevent.spawn(caller.rpc_name, _key=name) for name in task.names]
    wait_for_all(calls, bool)
    report(costs | {"first call": clocks["here"].lap()}, p50=p50, p99=p99)


def _rounds(caller: Caller, name: str) -> list[tuple[float, float]]:
    rounds = [sorted(_timed(caller, name) for _ in range(CALLS)) for _ in range(ROUNDS)]
    return [(percentile(each, 0.5) or 0.0, percentile(each, 0.99) or 0.0) for each in rounds]


def _timed(caller: Caller, name: str) -> float:
    since = time.perf_counter()
    if not caller.rpc_name(_key=name):
        raise AssertionError("no answer")
    return time.perf_counter() - since


main()
