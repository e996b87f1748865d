"""Programs that have many of something: ``python -m benchmarks.growing.MODULE TASK``, JSON.

Each is a process of its own, for one number, so that nothing is left from a smaller number.  It
writes a line of JSON after each part of its work, with costs and other figures.  Some parts first
wait for a line on standard input.
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
"""Seconds of CPU time and of the wall clock; 0 if that says nothing."""


class Task(NamedTuple):
    """The task of a program."""

    url: str
    """The URL of the broker."""
    name: str
    """The prefix of the queues' names."""
    count: int
    pids: dict[str, int]
    """The processes of the broker, if it was started here, and of a server."""

    @property
    def names(self) -> list[str]:
        """The names of the queues, which are also their keys."""
        return [f"{self.name}-{number}" for number in range(self.count)]

    def clocks(self, **more: int) -> dict[str, Clock]:
        """Return the clocks of this process (`here`) and of the processes in `pids` and *more*."""
        return {
            name: Clock(pid) for name, pid in {"here": os.getpid(), **self.pids, **more}.items()
        }


class Clock:
    """The CPU time of the process *pid*, and the wall clock."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._last = self._now()

    def _now(self) -> Cost:
        return cpu_seconds(self._pid), time.perf_counter()

    def lap(self) -> Cost:
        """Return the cost since the last call, or since the clock was made."""
        (cpu, wall), self._last = self._last, self._now()
        return self._last[0] - cpu, self._last[1] - wall


def told() -> Task:
    """Return the task of this process, and make Postage use its broker."""
    task = Task(*json.loads(sys.argv[1]))
    os.environ["POSTAGE_URL"] = task.url
    return task


def report(costs: dict[str, Cost], **figures: float) -> None:
    """Report the result of a part of the work to the measuring process."""
    print(json.dumps({"costs": costs, "figures": figures}), flush=True)
