"""Many pending calls: starting them, one more call, their answers, their timeouts."""

from __future__ import annotations

import os
import time
from functools import partial
from typing import Any

import gevent

from benchmarks.growing import report, told
from benchmarks.growing.parts import Caller, wait_for_all
from benchmarks.measure import resident
from benchmarks.tally import percentile

MORE = 300
"""Calls that are made one after the other while the others are pending."""


def main() -> None:
    """Run."""
    task = told()
    caller = partial(_call, Caller(), task.name)
    for _ in range(2):  # the first call to a destination has a reply queue of its own
        caller("echo")
    before = resident(os.getpid())
    clocks = task.clocks()

    calls = [gevent.spawn(caller, "hold") for _ in range(task.count)]
    caller("held", task.count)
    began = clocks["here"].lap()
    memory = (resident(os.getpid()) - before) / task.count

    durations = sorted(_timed(caller) for _ in range(MORE))
    cpu, wall = clocks["here"].lap()
    one_more = cpu / MORE * task.count, wall / MORE * task.count
    for name in task.pids:
        clocks[name].lap()

    caller("release")
    wait_for_all(calls, bool)
    answered = clocks["here"].lap()
    answering = {f"{name} answered": clocks[name].lap() for name in task.pids}

    limit = 2 * began[1] + 1.0  # no call ends before the last one has begun
    calls = [gevent.spawn(caller, "hold", _timeout=limit) for _ in range(task.count)]
    caller("held", task.count)
    clocks["here"].lap()
    wait_for_all(calls, lambda result: result.value == "TimeoutError")
    late = clocks["here"].lap()[0], 0.0  # the time it took was their timeout

    costs = {"began": began, "one more": one_more, "answered": answered, "late": late}
    figures = {"memory": memory, "p50": percentile(durations, 0.5) or 0.0}
    report(costs | answering, **figures)


def _call(caller: Caller, key: str, name: str, *parameters: object, **limits: float) -> Any:
    return getattr(caller, f"rpc_{name}")(*parameters, _key=key, **limits)


def _timed(caller: partial[Any]) -> float:
    since = time.perf_counter()
    if not caller("echo"):
        raise AssertionError("no answer")
    return time.perf_counter() - since


main()
