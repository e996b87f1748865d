"""The scheduler: runs microthreads, and supervises processors, each in its own greenlet."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

import gevent
import gevent.event

from postage.dispatch import NextAction
from postage.green import runtime
from postage.green.microthread import MicroThread
from postage.green.processor import GRACE
from postage.green.supervisor import MicrothreadRunner, SupervisedProcessor, runner_for

__all__ = ["MicroScheduler", "Scheduler", "run"]

logger = logging.getLogger(__name__)

TURN = 0.1
"""Seconds after which the loop body runs again although nothing happened."""

HEAD_START = 2.0
"""Seconds within which processors stop one after the other; then the rest stops at once.  Where
handlers have less than twice that to finish, half of what they have."""


class Scheduler:
    """Runs microthreads until they end: ``for _ in scheduler.main(): pass`` is a whole program.

    The loop ends when a processor was told to quit and no other one is left, when a microthread
    raises `ExitScheduler`, at SIGTERM or SIGINT, and, with *autoquit*, when none is left.  Other
    processors finish their messages first.

    A processor that crashes leaves the others alone, and is started again as its ``restart`` says;
    when it has crashed too often, `GaveUp` is raised in the loop.  So is, at once, an error of a
    microthread that is no processor, and `ConnectionClosed`, when our own side closes what a
    processor consumes by.
    """

    def __init__(self, autoquit: bool = False) -> None:  # noqa: FBT001, FBT002 - the classic signature
        self.autoquit = autoquit
        self._turned = gevent.event.Event()
        self._runners: dict[MicrothreadRunner, None] = {}
        self._ended_runners: deque[MicrothreadRunner] = deque()
        self._next_action = NextAction.CONTINUE
        self._restarting = False
        self._running = False
        self._signalled = False
        self._ended = gevent.event.Event()
        self._ended.set()

    def add_microthread(self, mthread: MicroThread) -> None:
        """Add a microthread and run its ``create()``; it starts with the loop, or joins it.

        Raises what ``create()`` does, and `SettingsError` for a ``restart`` that is no policy.
        """
        runner = runner_for(mthread, self._turned, self._ended_runners.append)
        self._runners[runner] = None
        if self._running:
            runner.start()

    def main(self) -> Iterator[int]:
        """Run: a generator that yields after each turn of a microthread, and ten times a second."""
        yield 1
        with self._signals():
            self._running = True
            self._ended.clear()
            for runner in self._runners:
                runner.start()
            try:
                while not self._is_over():
                    self._turned.wait(TURN)
                    self._turned.clear()
                    yield 1
            finally:
                self._stop()
        if self._restarting:
            restart_program()

    def shutdown(self) -> None:
        """End the loop: processors finish the messages they have.  Never switches."""
        self._next_action = NextAction.EXIT
        self._turned.set()

    def stop(self, timeout: float | None = None) -> None:
        """End the loop and wait until everything in it has ended; switches.

        Handlers get *timeout* seconds at most, by default each processor's ``shutdown_timeout``;
        what has not finished then goes back to its queue, within another second.  Not for whoever
        runs in the loop, or runs the loop: they would wait for themselves, and call `shutdown`.
        """
        self.shutdown()
        if not self._ended.wait(timeout):
            for runner in self._runners:
                runner.kill()
            self._ended.wait(2 * GRACE)

    def _is_over(self) -> bool:
        """Take note of who has ended, and tell whether that is the end of all."""
        while self._ended_runners:
            runner = self._ended_runners.popleft()
            if runner in self._runners:  # else it has ended with the loop before this one
                del self._runners[runner]
                self._note_end(runner)
        if self._next_action > NextAction.QUIT:
            return True
        if self._next_action is NextAction.QUIT:
            return not any(isinstance(runner, SupervisedProcessor) for runner in self._runners)
        return self.autoquit and not self._runners

    def _note_end(self, runner: MicrothreadRunner) -> None:
        if runner.error is not None:
            raise runner.error
        if runner.next_action is not NextAction.STOP:
            self._next_action = max(self._next_action, runner.next_action)
        self._restarting = self._restarting or runner.next_action is NextAction.RESTART

    def _stop(self) -> None:
        """End all that runs, the last added first, as who was added later may call who was there.

        Each has a head start on the next, of `HEAD_START` seconds for all together: a processor
        that stopped while others still call it would leave them waiting for its answer.  When the
        longest ``shutdown_timeout`` is over, none of them gets more time.
        """
        limit = max((runner.shutdown_timeout for runner in self._runners), default=0.0)
        started = time.monotonic()
        head_start = min(HEAD_START, limit / 2)
        processors = [runner for runner in self._runners if isinstance(runner, SupervisedProcessor)]
        for runner in reversed(self._runners):
            runner.stop()
            if isinstance(runner, SupervisedProcessor):
                runner.greenlet.join(max(0.0, started + head_start - time.monotonic()))
        greenlets = [runner.greenlet for runner in processors]
        gevent.joinall(greenlets, timeout=max(0.0, started + limit - time.monotonic()))
        for runner in processors:
            runner.kill()
        gevent.joinall(greenlets, timeout=GRACE)
        gevent.killall([runner.greenlet for runner in self._runners], timeout=GRACE)
        self._runners.clear()
        self._running = False
        self._ended.set()

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """Let SIGTERM and SIGINT end the loop; a second one ends the process as it always does."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        numbers = (signal.SIGTERM, signal.SIGINT)
        watchers = [gevent.signal_handler(number, self._on_signal, number) for number in numbers]
        try:
            yield
        finally:
            for watcher in watchers:
                watcher.cancel()

    def _on_signal(self, number: int) -> None:
        if self._signalled:
            raise SystemExit(
                128 + number
            )  # for SIGINT, too: gevent shows a KeyboardInterrupt's traceback
        self._signalled = True
        self._restarting = False  # who restarts just now is to end as well
        logger.info("%s: finishing what is running.", signal.Signals(number).name)
        self.shutdown()


MicroScheduler = Scheduler
"""The classic name."""


def run(*processors: MicroThread) -> None:
    """Run *processors* until the last one has quit; switches, and returns when all have ended.

    SIGTERM and SIGINT end them all.  Raises what the loop of a `Scheduler` does, above all `GaveUp`
    over a processor that crashed again and again; the others finish their messages first.
    """
    scheduler = Scheduler(autoquit=True)
    for processor in processors:
        scheduler.add_microthread(processor)
    for _ in scheduler.main():
        pass


def restart_program() -> NoReturn:
    """Replace this process by a new run of the same program; does not return.

    Arguments, interpreter's options, environment, working directory and process id stay.  The
    connections are closed first, so what is unsettled goes back to its queues.
    """
    runtime.close()
    for stream in (sys.stdout, sys.stderr):  # the new run gets the file, not what we buffered
        if stream is not None:
            stream.flush()
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606 - just ourselves
