"""Several processes of the same components, under a parent that starts again what was killed.

The parent imports neither gevent nor the user's code: it starts, waits and passes signals on.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from postage.cli.exits import Code
from postage.cli.running.lifeline import SIGNALLED, Lifeline
from postage.cli.running.reloading import CHANGED, telling_changes
from postage.supervision import Restarts

__all__ = ["supervise"]

logger = logging.getLogger(__name__)

FINAL = (Code.USAGE, Code.UNREACHABLE, Code.TOPOLOGY)
"""What a new start does not cure: ending so ends all."""
GRACE = 15.0
"""Seconds that a worker gets beyond its shutdown timeout; then it is killed."""


def supervise(count: int, shutdown_timeout: float | None, *, reload: bool = False) -> int:
    """Run *count* workers with the command line of this process; return the exit code.

    SIGTERM and SIGINT have all of them finish; a second one kills them.  With *reload* a change of
    a source file has them finish and start anew, and nothing that they do ends all.
    """
    with contextlib.ExitStack() as stack:
        wait, descriptor = stack.enter_context(_signals())
        if reload:
            stack.enter_context(telling_changes(descriptor))
        parent = stack.enter_context(_Parent(count, shutdown_timeout, reload=reload))
        while parent.busy:
            parent.turn(wait(parent.patience()))
    return parent.code


Wait = Callable[[float | None], set[int]]


@contextlib.contextmanager
def _signals() -> Iterator[tuple[Wait, int]]:
    """Give a function that waits so many seconds for signals, and returns those that came.

    They come through a pipe; its descriptor is given, too, for others who have something to tell.
    """
    inside, outside = os.pipe()
    os.set_blocking(outside, False)
    numbers = (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT)
    before = [signal.signal(number, lambda *_: None) for number in numbers]
    signal.set_wakeup_fd(outside, warn_on_full_buffer=False)

    def wait(seconds: float | None) -> set[int]:
        readable, _, _ = select.select([inside], [], [], seconds)
        return set(os.read(inside, 1024)) if readable else set()

    try:
        yield wait, outside
    finally:
        signal.set_wakeup_fd(-1)
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
        os.close(inside)
        os.close(outside)


@dataclass
class _Worker:
    """One place for a process; *due* is when it is to be started, None while it runs or is over."""

    number: int
    due: float | None = 0.0
    process: subprocess.Popen[bytes] | None = None
    outdated: bool = False
    restarts: Restarts = field(default_factory=Restarts)

    def start(self, descriptor: int) -> None:
        """Start the process: in a session of its own, as Ctrl-C is for the parent to pass on."""
        command = worker_command(sys.orig_argv, sys.argv, Lifeline(self.number, descriptor))
        self.due, self.outdated = None, False
        self.process = subprocess.Popen(  # noqa: S603 - just ourselves
            command, stdin=subprocess.DEVNULL, pass_fds=(descriptor,), start_new_session=True
        )
        logger.info("Worker %d is process %d.", self.number, self.process.pid)

    def renew(self) -> None:
        """Start anew: at once, or when the process that runs has finished."""
        self.restarts = Restarts()
        if self.process is None:
            self.due = time.monotonic()
        elif not self.outdated:  # a second signal would not let it finish
            self.outdated = True
            self.process.terminate()

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the process, if there is one, and start it no more."""
        self.due = None
        if self.process is not None:
            self.process.send_signal(number)


def worker_command(whole: list[str], arguments: list[str], lifeline: Lifeline) -> list[str]:
    """Return the command of a worker: *whole*, which ends with *arguments*, with its lifeline."""
    _, run, *rest = arguments
    interpreter = whole[1 : len(whole) - len(rest) - 1]
    return [sys.executable, *interpreter, run, "--worker", str(lifeline), *rest]


class _Parent:
    """The workers, and what becomes of them."""

    def __init__(self, count: int, shutdown_timeout: float | None, *, reload: bool) -> None:
        self.code = Code.CLEAN
        self._reload = reload
        self._workers = [_Worker(number) for number in range(count)]
        self._limit = None if shutdown_timeout is None else shutdown_timeout + GRACE
        self._deadline: float | None = None
        self._ending = False
        self._lifeline, self._end = os.pipe()

    def __enter__(self) -> _Parent:  # noqa: PYI034 - Self needs Python 3.11
        self._start_due()
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._end)  # whoever is still there ends now
        os.close(self._lifeline)

    @property
    def busy(self) -> bool:
        """Whether anything runs, or is about to, or a change may come."""
        waits = self._reload and not self._ending
        return waits or any(each.process or each.due is not None for each in self._workers)

    def patience(self) -> float | None:
        """Return the seconds until something is due; None: nothing is."""
        dues = [each.due for each in self._workers if each.due is not None]
        times = [*dues, *([self._deadline] if self._deadline is not None else [])]
        return max(0.0, min(times) - time.monotonic()) if times else None

    def turn(self, signals: set[int]) -> None:
        """Do what *signals*, the clock, and the processes that have ended ask for."""
        if signals & {signal.SIGTERM, signal.SIGINT}:
            self._end_all(signal.SIGKILL if self._ending else signal.SIGTERM)
        elif CHANGED in signals and not self._ending:
            self._renew_all()
        for worker in self._workers:
            code = worker.process.poll() if worker.process else None
            if code is not None:
                worker.process = None
                self._ended(worker, code)
        if self._deadline is not None and time.monotonic() >= self._deadline:
            self._end_all(signal.SIGKILL)
        self._start_due()

    def _start_due(self) -> None:
        for worker in self._workers:
            if worker.due is not None and worker.due <= time.monotonic():
                worker.start(self._lifeline)

    def _ended(self, worker: _Worker, code: int) -> None:
        how = f"by {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
        if self._ending or code == Code.CLEAN:
            logger.info("Worker %d has ended %s.", worker.number, how)
            if code not in (Code.CLEAN, SIGNALLED, -signal.SIGTERM):  # it had not yet begun
                self.code = self.code or Code.UNHANDLED
            return
        if worker.outdated:
            worker.renew()
            return
        pause = worker.restarts.pause(now := time.monotonic())
        if code in FINAL or pause is None:
            self._give_up(worker, how, Code(code) if code in FINAL else Code.GAVE_UP)
            return
        logger.warning("Worker %d has ended %s and is started again.", worker.number, how)
        worker.due = now + pause

    def _renew_all(self) -> None:
        logger.info("A file has changed: all start anew.")
        for worker in self._workers:
            worker.renew()

    def _give_up(self, worker: _Worker, how: str, code: Code) -> None:
        if self._reload:
            logger.error("Worker %d has ended %s and waits for a change.", worker.number, how)
            return
        logger.error("Worker %d has ended %s: all end.", worker.number, how)
        self.code = code
        self._end_all(signal.SIGTERM)

    def _end_all(self, number: signal.Signals) -> None:
        if not self._ending and self._limit is not None:
            self._deadline = time.monotonic() + self._limit
        elif number is signal.SIGKILL:
            self._deadline = None
        self._ending = True
        for worker in self._workers:
            worker.send(number)
