"""The clock of gevent's hub, for the core of the broker."""

from __future__ import annotations

import time
from collections.abc import Callable

import gevent.hub

from postage.broker.core.clock import Timer

__all__ = ["HubTimers"]


class _Due:
    """A call that is due later in the hub."""

    def __init__(self, seconds: float, call: Callable[[], None]) -> None:
        self._timer = gevent.hub.get_hub().loop.timer(seconds, ref=False)
        self._timer.start(self._fire)
        self._call: Callable[[], None] | None = call

    def _fire(self) -> None:
        call = self._call
        self.cancel()
        if call is not None:
            call()

    def cancel(self) -> None:
        """Not any more; also where it has been already."""
        if self._call is not None:
            self._call = None
            self._timer.stop()
            self._timer.close()


class HubTimers:
    """Timers of the hub of whoever calls `later`."""

    def now(self) -> float:
        """Return the seconds since some moment, never going back."""
        return time.monotonic()

    def wall(self) -> float:
        """Return the seconds since the epoch."""
        return time.time()

    def later(self, seconds: float, call: Callable[[], None]) -> Timer:
        """Have *call* called in the hub after *seconds*."""
        return _Due(seconds, call)
