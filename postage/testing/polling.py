"""Waiting for a condition, with a deadline, instead of sleeping for a guessed time."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

PAUSE = 0.005
"""Seconds between two checks."""


def wait_until(check: Callable[[], object], within: float = 5.0, message: str = "") -> None:
    """Wait until *check* returns a true value, and let other greenlets run meanwhile.

    Raises AssertionError with *message* after *within* seconds.  In a process that has not imported
    gevent, it blocks the thread.
    """
    deadline = time.monotonic() + within
    library: Any = sys.modules.get("gevent", time)
    while not check():
        if time.monotonic() > deadline:
            raise AssertionError(f"{message or check!r}: still not so after {within} s")
        library.sleep(PAUSE)
