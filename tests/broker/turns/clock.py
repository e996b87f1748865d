"""A clock that tells turns of the hub apart, and a number of items that takes several turns."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from postage.broker.core.backlog import AT_ONCE
from postage.broker.core.clock import ManualTimers, Timer

MANY = 2 * AT_ONCE + 500
TURNS = 3
"""Turns that `MANY` items take at least: the first is that of the method itself."""


class Turns(ManualTimers):
    """A clock that tells turns of the hub apart."""

    def __init__(self) -> None:
        super().__init__()
        self.due: list[Callable[[], None]] = []

    def later(self, seconds: float, call: Callable[[], None]) -> Timer:
        timer = super().later(seconds, call)
        if not seconds:
            self.due.append(partial(self._make, timer, call))
        return timer

    def _make(self, timer: Timer, call: Callable[[], None]) -> None:
        timer.cancel()
        call()

    def turn(self) -> bool:
        """Make the calls that are due now, not those that they ask for; False: there are none."""
        due, self.due = self.due, []
        for call in due:
            call()
        return bool(due)

    def skip(self, seconds: float) -> None:
        """Turn the clock without making any calls."""
        self._now += seconds

    def all(self) -> int:
        """Take turns until nothing is left to do; return their number."""
        return sum(iter(self.turn, False))
