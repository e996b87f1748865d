"""A process that plays a role, and its reports."""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
from collections.abc import Iterator
from typing import Any

from benchmarks.environments import ROOT
from postage.testing.processes import end, orphan_proof


class Failed(Exception):
    """A process ended, or was silent for too long, before it had done its work."""


class Actor:
    """A running process; its standard output has a line of JSON for each thing that it reports."""

    def __init__(self, process: subprocess.Popen[bytes], timeout: float) -> None:
        self._process, self._timeout = process, timeout
        self.pid = process.pid
        self.cpu = 0.0
        """Seconds of processor time that the process had used at its last report."""

    def report(self) -> dict[str, Any]:
        """Return the next report."""
        assert self._process.stdout is not None
        if not select.select([self._process.stdout], [], [], self._timeout)[0]:
            raise Failed(f"nothing came within {self._timeout:.0f} s")
        line = self._process.stdout.readline()
        if not line:
            raise Failed(f"its process ended with exit code {self._process.wait()}")
        told: dict[str, Any] = json.loads(line)
        self.cpu = told.pop("cpu", 0.0)  # the program in C does not report it
        return told

    def go_on(self, word: str = "") -> None:
        """Let the process go on after a report; tell it a *word* if it reads one."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{word}\n".encode())
        self._process.stdin.flush()

    def finish(self) -> None:
        """Wait until the process has ended by itself."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(self._timeout)


@contextlib.contextmanager
def acting(command: list[str], timeout: float) -> Iterator[Actor]:
    """Run *command* beside the block, and end it; it may be silent for *timeout* seconds."""
    environment = os.environ | {
        "PYTHONPATH": str(ROOT),
        "PYTHONWARNINGS": "ignore",
        # Installed packages have bytecode; code that runs from the checkout should have it, too.
        "PYTHONDONTWRITEBYTECODE": "",
    }
    process = subprocess.Popen(
        orphan_proof(command),
        cwd=ROOT,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        bufsize=0,
    )
    with process:
        try:
            yield Actor(process, timeout)
        finally:
            end(process)
