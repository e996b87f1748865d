"""Measures one process: how many operations, how long each took, how much CPU time they cost."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

Operation = Callable[[int], None]


@dataclass(frozen=True, kw_only=True)
class Figures:
    """What one run came to; None where it says nothing about this workload."""

    rate: float
    """Operations per second."""
    p50: float | None = None
    """Half of the operations took at most this many milliseconds."""
    p99: float | None = None
    """99 of 100 operations took at most this many milliseconds."""
    cpu: float
    """Microseconds of CPU time for one operation, in the measured process."""
    server_cpu: float | None = None
    """The same in the server that answered it."""

    def as_dict(self) -> dict[str, Any]:
        """Return the figures by name."""
        return asdict(self)


def cpu_seconds(pid: int | None = None) -> float:
    """Return the CPU time of the process *pid* (None: of this one), all its threads, in seconds."""
    if pid is None:
        return time.process_time()
    return time.clock_gettime(~pid << 3 | 2)  # Linux: the CPU clock of a process, clock_getres(2)


class Meter:
    """Measures from `start` to `figures`."""

    def __init__(self, server_pid: int | None = None) -> None:
        self._server_pid = server_pid
        self.durations: list[float] = []

    def start(self) -> None:
        """Begin; may be called again to begin anew."""
        self.durations = []
        self._server_cpu = self._server()
        self._cpu, self._since = cpu_seconds(), time.perf_counter()

    def _server(self) -> float:
        return cpu_seconds(self._server_pid) if self._server_pid else 0.0

    def timed(self, operation: Operation) -> Operation:
        """Return *operation* such that the duration of each run of it is kept."""

        def run(number: int) -> None:
            begun = time.perf_counter()
            operation(number)
            self.durations.append(time.perf_counter() - begun)

        return run

    def figures(self, count: int) -> Figures:
        """Return what *count* operations took since `start`."""
        seconds, cpu = time.perf_counter() - self._since, cpu_seconds() - self._cpu
        server = (self._server() - self._server_cpu) / count * 1e6 if self._server_pid else None
        p50, p99 = percentiles(self.durations)
        return Figures(
            rate=count / seconds, p50=p50, p99=p99, cpu=cpu / count * 1e6, server_cpu=server
        )


def percentiles(durations: list[float]) -> tuple[float | None, float | None]:
    """Return the 50th and the 99th percentile in milliseconds."""
    if len(durations) < 2:  # noqa: PLR2004 - what `quantiles` needs
        return None, None
    cuts = statistics.quantiles(durations, n=100, method="inclusive")
    return cuts[49] * 1e3, cuts[98] * 1e3


def repeat(operation: Operation, numbers: Iterator[int], callers: int, seconds: float) -> int:
    """Run *operation* for *seconds* from *callers* greenlets, or from here when it is just one.

    Each run gets the next of *numbers*.  Returns how often it ran.
    """
    until = time.perf_counter() + seconds

    def loop() -> int:
        runs = 0
        while time.perf_counter() < until:
            operation(next(numbers))
            runs += 1
        return runs

    if callers == 1:
        return loop()
    import gevent  # noqa: PLC0415 - a peer without greenlets runs without gevent

    greenlets = [gevent.spawn(loop) for _ in range(callers)]
    gevent.joinall(greenlets, raise_error=True)
    return sum(greenlet.get() for greenlet in greenlets)
