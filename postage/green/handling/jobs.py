"""Periodic jobs: one timer for each `every` method of a processor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gevent.hub

from postage.dispatch import Outcome, perform
from postage.handlers import jobs_of

__all__ = ["Job", "Jobs"]


class Job:
    """A bound method of a processor that runs every *seconds*."""

    def __init__(self, method: Callable[[], object], seconds: float) -> None:
        self.method, self.seconds = method, seconds
        self.is_running = False
        """True from the start of a turn, which may wait for a free slot first, until its end."""

    def run(self) -> Outcome:
        """Run one turn; switches if the method does."""
        try:
            return perform(self.method)
        finally:
            self.is_running = False

    def __repr__(self) -> str:
        return f"<Job {self.method.__qualname__}, every {self.seconds:g} s>"


class Jobs:
    """The timers of the jobs of *processor*, which start at once, and call *submit* for each turn.

    A job whose last turn has not ended misses the next one.  *submit* is called in the hub.
    """

    __slots__ = ("_submit", "_timers")

    def __init__(self, processor: object, submit: Callable[[Job], None]) -> None:
        self._submit = submit
        # A repeating timer of libev keeps its rhythm however long the turns take.
        timer = gevent.hub.get_hub().loop.timer
        self._timers: list[Any] = []
        for name, seconds in jobs_of(type(processor)):
            self._timers.append(timer(seconds, seconds))
            self._timers[-1].start(self._turn, Job(getattr(processor, name), seconds))

    def stop(self) -> None:
        """Stop the timers; never switches, and may be called twice."""
        for each in self._timers:
            each.close()
        self._timers.clear()

    def _turn(self, job: Job) -> None:
        if not job.is_running:
            job.is_running = True
            self._submit(job)
