"""A native thread that lives as long as the process, for what must not outlive who started it.

The kernel kills a RabbitMQ node when the *thread* that started it ends, and the threads of gevent's
pool come and go.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import gevent
import gevent.event
import gevent.hub
import gevent.monkey

T = TypeVar("T")

_start_new_thread: Any = gevent.monkey.get_original("_thread", "start_new_thread")
_Mailbox: Any = gevent.monkey.get_original("queue", "SimpleQueue")


class Attendant:
    """Runs functions that block, one after the other; made at its first use."""

    def __init__(self) -> None:
        self._jobs: Any = None

    def run(self, function: Callable[..., T], *arguments: Any) -> T:
        """Run *function* in the thread, and return or raise what comes of it; switches."""
        if self._jobs is None:
            self._jobs = _Mailbox()
            _start_new_thread(self._main, (self._jobs,))
        job = _Job(function, arguments)
        self._jobs.put(job)
        result: T = job.wait()
        return result

    def _main(self, jobs: Any) -> None:
        while True:
            jobs.get().do()


class _Job:
    """A function to run in the thread, and what came of it."""

    def __init__(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        self._function, self._arguments = function, arguments
        self._value: Any = None
        self._error: BaseException | None = None
        self._done = gevent.event.Event()
        self._bell = gevent.get_hub().loop.async_()  # it also keeps the hub waiting
        self._bell.start(self._done.set)

    def do(self) -> None:
        try:
            self._value = self._function(*self._arguments)
        except BaseException as exc:  # it belongs to who waits
            self._error = exc
        self._bell.send()

    def wait(self) -> Any:
        try:
            self._done.wait()
        finally:
            self._bell.close()
        if self._error is not None:
            raise self._error
        return self._value
