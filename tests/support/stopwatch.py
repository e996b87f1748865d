"""A stopwatch for a machine that runs other programs as well."""

from __future__ import annotations

import time
from pathlib import Path

__all__ = ["Stopwatch"]

_SCHEDSTAT = Path("/proc/thread-self/schedstat")
_PRESSURE = Path("/proc/pressure/cpu")


def _kept_waiting() -> tuple[float, float]:
    """Return how long this thread, and anything on this machine, has waited for a processor.

    Both are seconds since some moment in the past; 0.0 where the system does not tell.
    """
    try:
        thread = int(_SCHEDSTAT.read_text().split()[1]) / 1e9
    except OSError:
        thread = 0.0
    try:
        # some avg10=0.00 avg60=0.00 avg300=0.00 total=microseconds
        machine = int(_PRESSURE.read_text().split(maxsplit=5)[4].removeprefix("total=")) / 1e6
    except OSError:
        machine = 0.0
    return thread, machine


class Stopwatch:
    """Measures from when it is made; `own` leaves out the time that a busy machine takes.

    A test must not fail because other programs delayed it.  Its own thread is only one of those
    that may be delayed: the broker, a proxy, a child process do a part of the work.  So `own`
    subtracts the time for which anything at all waited for a processor (Linux: "pressure").  On
    an idle machine nothing waits, and `own` is what the clock says.
    """

    def __init__(self) -> None:
        self._began, self._before = time.monotonic(), _kept_waiting()

    @property
    def seconds(self) -> float:
        """The seconds since then, by the clock."""
        return time.monotonic() - self._began

    @property
    def own(self) -> float:
        """The same, without the time for which this thread or others waited for a processor."""
        waited = zip(_kept_waiting(), self._before, strict=True)
        return self.seconds - max(now - before for now, before in waited)
