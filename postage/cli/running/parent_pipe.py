"""The pipe by which a worker notices that its parent has ended.

Nothing is written to the pipe.  The kernel closes the parent's end when the parent ends, even by
SIGKILL; then the worker's read returns, and the worker ends too.
"""

from __future__ import annotations

import _thread
import os
import signal
from dataclasses import dataclass
from time import sleep  # imported before gevent patches it: the watching thread is a native one

from postage.signals import STOPPING_SIGNALS

SIGNALLED = {128 + number: number for number in STOPPING_SIGNALS}
"""The exit codes of workers that a signal has stopped, and that did not run out of components."""

WORKER_URL = "POSTAGE_WORKER_URL"
"""The environment variable in which a worker gets the URL of its broker, if the parent's command
line or the broker inside the parent says it."""

WORKER_CONFIG = "POSTAGE_WORKER_CONFIG"
"""The environment variable in which a worker gets the tables of the configuration file as JSON, so
that nobody else can read what they hold."""

GRACE_WITHOUT_PARENT = 60.0
"""Seconds beyond its shutdown timeout after which a worker without parent is killed."""


@dataclass(frozen=True)
class ParentPipe:
    """The worker's *number*, from 0, and the *descriptor* of its end of the pipe."""

    number: int
    descriptor: int

    @classmethod
    def parse(cls, text: str) -> ParentPipe:
        """Return the pipe that `__str__` has written on the worker's command line."""
        number, descriptor = text.split(":")
        return cls(int(number), int(descriptor))

    def __str__(self) -> str:
        return f"{self.number}:{self.descriptor}"

    def watch(self, shutdown_timeout: float) -> None:
        """From now on, end this process when its parent ends: by SIGTERM, later by SIGKILL.

        SIGKILL follows *shutdown_timeout* plus `GRACE_WITHOUT_PARENT` seconds later.  Call this
        before anything is monkey-patched: a native thread waits, because handlers that compute
        would keep a greenlet from running.
        """
        _thread.start_new_thread(self._wait, (shutdown_timeout + GRACE_WITHOUT_PARENT,))

    def _wait(self, kill_after: float) -> None:
        os.read(self.descriptor, 1)
        os.kill(os.getpid(), signal.SIGTERM)
        sleep(kill_after)
        os.kill(os.getpid(), signal.SIGKILL)
