"""Waiting for facts, with a deadline, instead of sleeping and hoping."""

from __future__ import annotations

import time
from collections.abc import Callable

import gevent


def wait_until(check: Callable[[], object], within: float = 5.0, message: str = "") -> None:
    """Let other greenlets run until *check* returns something true.

    Raises AssertionError with *message* after *within* seconds.  Switches to the hub.
    """
    deadline = time.monotonic() + within
    while not check():
        late = time.monotonic() > deadline
        assert not late, f"{message or check!r}: still not so after {within} s"
        gevent.sleep(0.005)
