"""The count of a process: its payloads, how many there were, how long each took."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from typing import Any

from benchmarks.payload import payload


class Tally:
    """Gives the payloads of *numbers* for at most *seconds*; compares answers if asked to."""

    def __init__(self, numbers: Iterator[int], seconds: float, *, compare: bool) -> None:
        self._numbers, self._compare = numbers, compare
        self._until = time.perf_counter() + seconds
        self._durations: list[float] = []

    def payloads(self) -> Iterator[dict[str, Any]]:
        """Give payloads to any number of callers until the time is over, at least one."""
        for number in self._numbers:
            yield payload(number)
            if time.perf_counter() >= self._until:
                return

    def done(self, sent: dict[str, Any], answer: Any, seconds: float) -> None:
        """Count an operation that took *seconds*; raise if the answer is not what was *sent*."""
        if self._compare and answer != sent:
            raise AssertionError(f"sent {sent}, got {answer}")
        self._durations.append(seconds)

    def report(self) -> None:
        """Send the report to the process that runs the round."""
        report(len(self._durations), self._durations)


def report(count: int, durations: list[float] | None = None) -> None:
    """Write how many operations there were, and their percentiles in milliseconds, as a line.

    The line has the processor time of this process, too, in seconds.
    """
    os.getppid()  # callgrind counts from one of these to the next: see clocks.py
    values = sorted(durations or ())
    p50, p99 = (percentile(values, part) for part in (0.5, 0.99))
    told = {"count": count, "p50": p50, "p99": p99, "cpu": time.process_time()}
    print(json.dumps(told), flush=True)


def percentile(values: list[float], part: float) -> float | None:
    """Return the value in milliseconds that *part* of the sorted *values* (seconds) stay below."""
    return values[int(part * (len(values) - 1))] * 1e3 if values else None
