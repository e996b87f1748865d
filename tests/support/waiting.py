"""Waiting for what must not happen, or no longer; for what must happen, see `wait_until`."""

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


def wait_until_steady(value: Callable[[], object], seconds: float, within: float) -> None:
    """Wait until *value* has returned the same for *seconds*; fail after *within* seconds."""
    end = time.monotonic() + within
    last, since = value(), time.monotonic()
    while time.monotonic() - since < seconds:
        assert time.monotonic() < end, f"it still changes: {last!r}"
        gevent.sleep(PAUSE)
        if (new := value()) != last:
            last, since = new, time.monotonic()
