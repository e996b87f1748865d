"""Programs that have many of something: ``python -m benchmarks.growing.MODULE TASK``, JSON.

Each is a process of its own, for one number, so that nothing is left from a smaller one.  It
writes a line of JSON after each part of its work: what that cost, and other figures; some parts
wait for a line on standard input first.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import NamedTuple

from benchmarks.measure import cpu_seconds

EXCHANGE = "postage-benchmark-growth"

Cost = tuple[float, float]
"""Seconds of CPU time, and of the clock on the wall; 0 where that says nothing."""


class Task(NamedTuple):
    """What a program is told."""

    url: str
    """Of the broker."""
    name: str
    """What the names of queues begin with."""
    count: int
    pids: dict[str, int]
    """Of the broker, where that is ours, and of a server."""

    @property
    def names(self) -> list[str]:
        """The names of so many queues, which are their keys as well."""
        return [f"{self.name}-{number}" for number in range(self.count)]

    def clocks(self, **more: int) -> dict[str, Clock]:
        """Return the clock of this process, named `here`, of those in `pids` and *more*."""
        return {
            name: Clock(pid) for name, pid in {"here": os.getpid(), **self.pids, **more}.items()
        }


class Clock:
    """The CPU time of the process *pid*, and the clock on the wall."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._last = self._now()

    def _now(self) -> Cost:
        return cpu_seconds(self._pid), time.perf_counter()

    def lap(self) -> Cost:
        """Return what there was since the last time, or since it was made."""
        (cpu, wall), self._last = self._last, self._now()
        return self._last[0] - cpu, self._last[1] - wall


def told() -> Task:
    """Return the task of this process, and have Postage use its broker."""
    task = Task(*json.loads(sys.argv[1]))
    os.environ["POSTAGE_URL"] = task.url
    return task


def report(costs: dict[str, Cost], **figures: float) -> None:
    """Tell the process that measures what a part of the work came to."""
    print(json.dumps({"costs": costs, "figures": figures}), flush=True)
