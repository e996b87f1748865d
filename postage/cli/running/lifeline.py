"""The lifeline of a worker: a pipe that nobody writes to, and that closes when its parent ends.

However the parent ends: a kernel closes the pipes of what was killed, too.
"""

from __future__ import annotations

import _thread
import os
import signal
from dataclasses import dataclass
from time import sleep  # before gevent's takes its place: this one is for a native thread

__all__ = ["SIGNALLED", "Lifeline"]

SIGNALLED = 128 + signal.SIGTERM
"""The exit code of a worker that ended because of SIGTERM, not because nothing was left to run."""

LIMIT = 60.0
"""Seconds beyond its shutdown timeout after which a worker without parent is killed."""


@dataclass(frozen=True)
class Lifeline:
    """What a worker knows of its parent: the *number* that it has there, from 0, and the pipe."""

    number: int
    descriptor: int

    @classmethod
    def parse(cls, text: str) -> Lifeline:
        """Return what `__str__` has written, on the worker's command line."""
        number, _, descriptor = text.partition(":")
        return cls(int(number), int(descriptor))

    def __str__(self) -> str:
        return f"{self.number}:{self.descriptor}"

    def hold(self, patience: float) -> None:
        """From now on end with the parent: as at SIGTERM, and by force *patience* seconds later.

        A native thread waits for it, as handlers may keep the hub from turning.  To be called
        before anything is monkey-patched.
        """
        _thread.start_new_thread(self._wait, (patience + LIMIT,))

    def _wait(self, patience: float) -> None:
        os.read(self.descriptor, 1)
        os.kill(os.getpid(), signal.SIGTERM)
        sleep(patience)
        os.kill(os.getpid(), signal.SIGKILL)
