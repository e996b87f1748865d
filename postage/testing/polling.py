"""Waiting for facts, with a deadline, instead of sleeping and hoping."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

__all__ = ["wait_until"]

PAUSE = 0.005
"""Seconds between two looks."""


def wait_until(check: Callable[[], object], within: float = 5.0, message: str = "") -> None:
    """Let other greenlets run until *check* returns something true.

    Raises AssertionError with *message* after *within* seconds.  Switches to the hub; where gevent
    has not been imported, it blocks the thread.
    """
    deadline = time.monotonic() + within
    library: Any = sys.modules.get("gevent", time)
    while not check():
        if time.monotonic() > deadline:
            raise AssertionError(f"{message or check!r}: still not so after {within} s")
        library.sleep(PAUSE)
