"""How long something took on a machine that others use as well."""

from __future__ import annotations

import time
from pathlib import Path

__all__ = ["Stopwatch"]

_SCHEDSTAT = Path("/proc/thread-self/schedstat")


def _kept_waiting() -> float:
    """Return the seconds that this thread was ready to run, and had no processor (Linux)."""
    try:
        return int(_SCHEDSTAT.read_text().split()[1]) / 1e9
    except OSError:
        return 0.0


class Stopwatch:
    """Runs from its making.  What a busy machine kept this thread waiting is no fault of ours."""

    def __init__(self) -> None:
        self._began, self._before = time.monotonic(), _kept_waiting()

    @property
    def seconds(self) -> float:
        """How long it is running, by the clock."""
        return time.monotonic() - self._began

    @property
    def own(self) -> float:
        """The same without the time that this thread waited for a processor."""
        return self.seconds - (_kept_waiting() - self._before)
