"""Waking the one greenlet that waits for something."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import gevent
from gevent.hub import Waiter, get_hub

__all__ = ["Bell"]


class Bell:
    """Rings for one greenlet, which waits for it now or will; once rung, it stays so until `mute`.

    A ``gevent.event.Event`` for one waiter, at a third of its price: to wait for that, with a
    limit, took 4 us of the 60 that a call has.
    """

    __slots__ = ("_wake", "is_rung")

    def __init__(self) -> None:
        self.is_rung = False
        """Whether a wait would end at once."""
        self._wake: Callable[[None], object] | None = None

    def ring(self) -> None:
        """Wake who waits, at the next turn of the hub; never switches."""
        self.is_rung = True
        if self._wake is not None:
            get_hub().loop.run_callback(self._wake, None)

    def mute(self) -> None:
        """Have it silent, as it was at first."""
        self.is_rung = False

    def wait(self, seconds: float) -> None:
        """Wait until it rings, at most *seconds*; switches unless it has rung."""
        if self.is_rung:
            return
        hub = get_hub()
        waiter: Waiter[None] = Waiter(hub)  # wakes nobody any more once its wait is over
        self._wake = wake = waiter.switch
        timer = hub.loop.timer(seconds)
        timer.start(wake, None, update=True)  # the clock of the hub may be behind
        try:
            waiter.get()
        finally:
            self._wake = None
            timer.close()

    @contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        """End the block after *seconds*, or when it rings, if that is sooner.

        What the block waits for then is left as by a greenlet that was killed, but the program goes
        on after the block.  Timeouts of others pass through.
        """
        over = gevent.Timeout.start_new(0 if self.is_rung else seconds)
        greenlet: Any = gevent.getcurrent()

        def end(_: None) -> None:
            if self._wake is end:  # still in the block
                self._wake = None
                greenlet.throw(over)  # in the hub, as the timeout itself does it

        self._wake = end
        try:
            yield
        except gevent.Timeout as exc:
            if exc is not over:
                raise
        finally:
            self._wake = None
            over.close()
