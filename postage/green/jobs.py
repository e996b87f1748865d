"""The periodic jobs of a processor, each with a timer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gevent.hub

from postage.handlers import jobs_of

__all__ = ["Job", "Jobs"]


class Job:
    """A bound method of a processor that runs every *seconds*."""

    def __init__(self, method: Callable[[], object], seconds: float) -> None:
        self.method, self.seconds = method, seconds
        self._is_running = False

    def __repr__(self) -> str:
        return f"<Job {self.method.__qualname__}, every {self.seconds:g} s>"

    def start_turn(self) -> bool:
        """Note that a turn starts; return False if the one before still waits or runs."""
        was_running, self._is_running = self._is_running, True
        return not was_running

    def end_turn(self) -> None:
        """Allow the next turn."""
        self._is_running = False


class Jobs:
    """The jobs of *processor*; *submit* is called in the hub for each turn."""

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
        """Start no more turns; never switches, and may be called twice."""
        for each in self._timers:
            each.close()
        self._timers.clear()

    def _turn(self, job: Job) -> None:
        if job.start_turn():
            self._submit(job)
