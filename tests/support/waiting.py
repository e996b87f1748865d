"""Waiting for something that must not happen; for something that must, see `wait_until`."""

from __future__ import annotations

import time
from collections.abc import Callable

import gevent

PAUSE = 0.01


def assert_stays(check: Callable[[], object], seconds: float) -> None:
    """Let other greenlets run for *seconds*, and assert that *check* is true all the time."""
    end = time.monotonic() + seconds
    while True:
        assert check()
        left = end - time.monotonic()
        if left <= 0:
            return
        gevent.sleep(min(PAUSE, left))
