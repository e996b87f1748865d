"""A stopwatch for a machine that runs other programs as well."""

from __future__ import annotations

import time
from pathlib import Path

__all__ = ["Stopwatch"]

_SCHEDSTAT = Path("/proc/thread-self/schedstat")


def _kept_waiting() -> float:
    """Return the seconds for which this thread was ready to run but had no processor (Linux)."""
    try:
        return int(_SCHEDSTAT.read_text().split()[1]) / 1e9
    except OSError:
        return 0.0


class Stopwatch:
    """Measures from when it is made; `own` leaves out the time that a busy machine takes."""

    def __init__(self) -> None:
        self._began, self._before = time.monotonic(), _kept_waiting()

    @property
    def seconds(self) -> float:
        """The seconds since then, by the clock."""
        return time.monotonic() - self._began

    @property
    def own(self) -> float:
        """The same, without the time for which this thread waited for a processor."""
        return self.seconds - (_kept_waiting() - self._before)
