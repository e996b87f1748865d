"""The periodic jobs of a processor, each with its timer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gevent.hub

from postage.handlers import jobs_of

__all__ = ["Job", "Jobs"]


class Job:
    """A bound method of a processor, that shall run every so many *seconds*."""

    def __init__(self, method: Callable[[], object], seconds: float) -> None:
        self.method, self.seconds = method, seconds
        self._under_way = False

    def __repr__(self) -> str:
        return f"<Job {self.method.__qualname__}, every {self.seconds:g} s>"

    def begin(self) -> bool:
        """Tell whether its turn may come: not while the one before waits or runs."""
        free, self._under_way = not self._under_way, True
        return free

    def end(self) -> None:
        """Let the next turn come."""
        self._under_way = False


class Jobs:
    """The jobs of *processor*; each of their turns goes to *submit*, in the hub."""

    __slots__ = ("_submit", "_timers")

    def __init__(self, processor: object, submit: Callable[[Job], None]) -> None:
        self._submit = submit
        # The timers of libev keep to their beat: what a turn takes does not add up.
        timer = gevent.hub.get_hub().loop.timer
        self._timers: list[Any] = []
        for name, seconds in jobs_of(type(processor)):
            self._timers.append(timer(seconds, seconds))
            self._timers[-1].start(self._turn, Job(getattr(processor, name), seconds))

    def stop(self) -> None:
        """Let no more turns come; never switches, and may be called twice."""
        for each in self._timers:
            each.close()
        self._timers.clear()

    def _turn(self, job: Job) -> None:
        if job.begin():
            self._submit(job)
