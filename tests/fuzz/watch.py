"""Watches a target while inputs are fed to it: its exceptions, its time and its memory."""

from __future__ import annotations

import gc
import hashlib
import resource
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

__all__ = ["MOST_GROWTH", "SLOW", "Watch"]

SLOW = 0.1
"""Seconds of processor time that no turn may take."""
MOST_GROWTH = 8 << 20
"""Bytes that the process may grow by, once each cache of a limited size is full."""


class Watch:
    """Calls *target* with each input, and never raises; inputs with faults go to *folder*."""

    def __init__(self, target: Callable[[bytes], float], folder: Path) -> None:
        self._target, self._folder = target, folder
        self.executions = 0
        self.slowest = 0.0
        self.faults: dict[tuple[object, ...], int] = {}
        """How often each fault occurred."""
        self._begun = time.monotonic()
        self._settled: tuple[int, int] | None = None

    def __call__(self, data: bytes) -> None:
        """Feed *data* to the target."""
        self.executions += 1
        try:
            seconds = self._target(data)
            if seconds > SLOW:  # again: the collector of garbage may have had its turn
                seconds = min(seconds, self._target(data))
        except KeyboardInterrupt:
            raise
        except BaseException as exc:  # all of them are faults
            self._note(exc, data)
            return
        if seconds > self.slowest:
            self.slowest = seconds
            if seconds > SLOW:
                self._keep("slow", data, f"{seconds * 1000:.0f} ms for {len(data)} bytes")

    def _note(self, exc: BaseException, data: bytes) -> None:
        entries = traceback.extract_tb(exc.__traceback__)
        place = (entries[-1].filename, entries[-1].lineno)
        # Where a recursion ends depends on where it began.
        fault = (type(exc).__name__, *(() if isinstance(exc, RecursionError) else place))
        self.faults[fault] = self.faults.get(fault, 0) + 1
        if self.faults[fault] == 1:
            text = "".join(traceback.format_exception(type(exc), exc, exc.__traceback__))
            self._keep("fault", data, text[-3000:])

    def _keep(self, kind: str, data: bytes, text: str) -> None:
        path = self._folder / f"{kind}-{hashlib.sha256(data).hexdigest()[:12]}"
        path.write_bytes(data)
        sys.stderr.write(f"\n{path}:\n{text}\n")

    def settle(self) -> None:
        """Measure from now on how the process grows."""
        self._settled = self._memory()

    def _memory(self) -> tuple[int, int]:
        """Return the bytes of the process, and the blocks that Python has allocated in it."""
        gc.collect()
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * resource.getpagesize(), sys.getallocatedblocks()

    def report(self) -> tuple[str, bool]:
        """Return what was seen, on one line, and whether it was as it should be."""
        (size, blocks), seconds = self._memory(), time.monotonic() - self._begun
        old_size, old_blocks = self._settled or (size, blocks)
        text = (
            f"{self.executions} executions in {seconds:.0f} s, {len(self.faults)} faults, "
            f"slowest turn {self.slowest * 1000:.0f} ms, process of {size >> 20} MiB grew by "
            f"{(size - old_size) / (1 << 20):+.1f} MiB and {blocks - old_blocks:+d} blocks"
        )
        is_good = not self.faults and self.slowest <= SLOW and size - old_size <= MOST_GROWTH
        return text, is_good
