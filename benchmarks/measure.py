"""Measurements of processes from outside: time, CPU time, memory."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Figures:
    """The figures of one round; None if a figure says nothing about the workload."""

    rate: float | None = None
    """Operations per second."""
    seconds: float | None = None
    """Seconds for everything together."""
    p50: float | None = None
    """Milliseconds that half of the operations stayed below."""
    p99: float | None = None
    """Milliseconds that 99 of 100 operations stayed below."""
    client: float | None = None
    """Microseconds of CPU time for one operation, in the process that calls or consumes."""
    server: float | None = None
    """The same in the server that answers."""
    broker: float | None = None
    """The same in the broker."""
    memory: float | None = None
    """Megabytes (of 1,000,000 bytes) that are resident."""

    def as_dict(self) -> dict[str, Any]:
        """Return the figures by name."""
        return asdict(self)


class Meter:
    """The clocks of the processes *pids*, by name, and that of the wall, from `start` on."""

    def __init__(self, pids: Mapping[str, int | None]) -> None:
        self._pids = {name: pid for name, pid in pids.items() if pid is not None}

    def start(self) -> None:
        """Begin."""
        self._cpu = self._clocks()
        self._since = time.perf_counter()

    def _clocks(self) -> dict[str, float]:
        return {name: cpu_seconds(pid) for name, pid in self._pids.items()}

    def figures(self, count: int, **more: float | None) -> Figures:
        """Return what *count* operations took since `start`."""
        seconds, clocks = time.perf_counter() - self._since, self._clocks()
        each = {name: (clocks[name] - self._cpu[name]) / count * 1e6 for name in clocks}
        return Figures(rate=count / seconds, seconds=seconds, **each, **more)


def cpu_seconds(pid: int) -> float:
    """Return the CPU time of the process *pid*, all its threads, in seconds."""
    return time.clock_gettime(~pid << 3 | 2)  # Linux: the CPU clock of a process, clock_getres(2)


def resident(pid: int) -> int:
    """Return the resident memory of the process *pid* in bytes."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) * 1024
