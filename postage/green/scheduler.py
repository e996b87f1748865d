"""The scheduler: runs microthreads and supervised processors until the program ends."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import NoReturn

import gevent
import gevent.event

from postage.callables import refuse_lazy
from postage.dispatch import NextAction
from postage.green import runtime
from postage.green.microthread import MicroThread
from postage.green.processor import GRACE, MessageProcessor
from postage.green.supervisor import MicrothreadRunner, ProcessorRunner
from postage.log_records import logger_of
from postage.signals import stopping_signals
from postage.values import value_error

__all__ = ["MicroScheduler", "Scheduler", "run"]

logger = logger_of(__name__)

TURN = 0.1
"""Seconds after which the body of the loop runs again even if no microthread has."""

HEAD_START = 2.0
"""Seconds in which processors stop one after the other; then the rest stop at once.  It is at most
half of the time that handlers have to finish."""


class Scheduler:
    """Runs microthreads until they end: ``for _ in scheduler.main(): pass`` is a whole program.

    The loop ends in each of these cases; processors then finish their messages first:

    - a processor was told to quit and no other one is left;
    - a microthread raises `ExitScheduler`;
    - SIGTERM, SIGINT or SIGHUP arrives;
    - with *autoquit*, no microthread is left.

    A processor that crashes does not affect the others, and is restarted as its ``restart`` says.
    When it has crashed too often, the loop raises `GaveUp`.  If the broker refuses its queue for
    good, it is not restarted, and the loop raises the `ChannelRefused` when no other processor is
    left.  The loop also raises each error of a microthread that is not a processor, and
    `ConnectionClosed` if our own side closes the connection of a processor.
    """

    def __init__(self, autoquit: bool = False) -> None:  # noqa: FBT001, FBT002 - the classic signature
        self.autoquit = autoquit
        self._runners: dict[MicrothreadRunner, None] = {}
        self._known_ids: set[int] = set()  # of the microthreads that have not ended
        self._ended_runners: deque[MicrothreadRunner] = deque()  # since the last turn of the loop
        self._next_action = NextAction.CONTINUE
        self._turned = gevent.event.Event()
        self._was_signalled = False
        self._refusal: Exception | None = None
        self._ended = gevent.event.Event()  # cleared while the loop runs
        self._ended.set()

    def add_microthread(self, mthread: MicroThread) -> None:
        """Add a microthread and run its ``create()``; it starts with the loop, or at once in it.

        Raises what ``create()`` does, `SettingsError` for a ``restart`` that is no policy and for a
        processor that was added before and has not ended, and `HandlerError` if ``create`` or
        ``step`` is async or a generator.
        """
        if isinstance(mthread, type) or not hasattr(mthread, "create"):
            raise value_error("a microthread", "an object such as a processor", mthread)
        refuse_lazy(mthread.create)
        refuse_lazy(mthread.step)
        callbacks = self._turned.set, self._on_end
        if isinstance(mthread, MessageProcessor):
            if id(mthread) in self._known_ids:
                raise value_error(
                    "a processor", "one that this scheduler does not run yet", mthread
                )
            runner: MicrothreadRunner = ProcessorRunner(mthread, *callbacks)
        else:
            runner = MicrothreadRunner(mthread, *callbacks)
        self._runners[runner] = None
        self._known_ids.add(id(mthread))
        if not self._ended.is_set():
            self._start([runner])

    def main(self) -> Iterator[int]:
        """Run: a generator that yields after each turn of a microthread, and ten times a second."""
        yield 1
        with self._signals():
            self._ended.clear()
            # Not by the timeout of `wait`: to raise and to catch it takes most of an idle turn.
            ticks = gevent.get_hub().loop.timer(TURN, TURN)
            ticks.start(self._turned.set)
            try:
                self._start(self._runners)
                while not self._is_over():
                    self._turned.wait()
                    self._turned.clear()
                    yield 1
            finally:
                ticks.close()
                self._stop()
        if self._next_action is NextAction.RESTART and not self._was_signalled:
            restart_program()

    def shutdown(self) -> None:
        """End the loop: processors finish the messages they have.  Never switches."""
        self._next_action = max(self._next_action, NextAction.EXIT)
        self._turned.set()

    def stop(self, timeout: float | None = None) -> None:
        """End the loop and wait until everything in it has ended; switches.

        Handlers have *timeout* seconds at most, by default the ``shutdown_timeout`` of their
        processor.  Handlers that still run then are killed and their messages requeued, within
        another second.  The greenlet that runs the loop, and those that run in it, must call
        `shutdown` instead, because they would wait for themselves.
        """
        self.shutdown()
        if not self._ended.wait(timeout):
            for runner in self._runners:
                runner.kill_handlers()
            self._ended.wait(2 * GRACE)

    def _start(self, runners: Iterable[MicrothreadRunner]) -> None:
        """Start *runners*; if one of them cannot be started, forget it and those after it."""
        waiting = deque(runners)
        try:
            while waiting:
                waiting[0].start()
                waiting.popleft()
        finally:
            for each in waiting:
                del self._runners[each]
                self._known_ids.discard(id(each.microthread))

    def _on_end(self, runner: MicrothreadRunner) -> None:
        self._known_ids.discard(id(runner.microthread))
        self._ended_runners.append(runner)
        self._turned.set()

    def _is_over(self) -> bool:
        """Remove the runners that have ended; return whether the loop must end."""
        while self._ended_runners:
            runner = self._ended_runners.popleft()
            if runner not in self._runners:
                continue  # it ended with an earlier loop
            del self._runners[runner]
            if runner.error is not None:
                raise runner.error
            self._refusal = self._refusal or runner.refusal
            if runner.next_action is not NextAction.STOP:
                self._next_action = max(self._next_action, runner.next_action)
        if self._next_action > NextAction.QUIT:
            return True
        is_last = not any(isinstance(runner, ProcessorRunner) for runner in self._runners)
        if self._refusal is not None and is_last:
            raise self._refusal
        if self._next_action is NextAction.QUIT:
            return is_last
        return self.autoquit and not self._runners

    def _stop(self) -> None:
        """Stop all microthreads, the last added first, because it may call those added before it.

        If a processor stopped while others still call it, they would wait for its answer.  So each
        has a head start on the next one, of `HEAD_START` seconds for all together.  Handlers that
        still run after the longest ``shutdown_timeout`` are killed.
        """
        started = time.monotonic()
        processors = [each for each in self._runners if isinstance(each, ProcessorRunner)]
        limit = max((each.microthread.shutdown_timeout for each in processors), default=0.0)
        head_start = min(HEAD_START, limit / 2)
        for runner in reversed(self._runners):
            runner.stop()
            if isinstance(runner, ProcessorRunner):
                runner.join(max(0.0, started + head_start - time.monotonic()))
        _join(processors, started + limit - time.monotonic())
        for runner in processors:
            runner.kill_handlers()
        _join(processors, GRACE)
        for runner in self._runners:
            runner.kill()
        _join(self._runners, GRACE)
        self._runners.clear()
        self._known_ids.clear()
        self._ended.set()

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """Let SIGTERM, SIGINT and SIGHUP end the loop; a second signal ends the process."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        watchers = [
            gevent.signal_handler(number, self._on_signal, number) for number in stopping_signals()
        ]
        try:
            yield
        finally:
            for watcher in watchers:
                watcher.cancel()

    def _on_signal(self, number: int) -> None:
        if self._was_signalled:
            # For SIGINT, too, because gevent would print the traceback of a KeyboardInterrupt.
            raise SystemExit(128 + number)
        self._was_signalled = True
        text = "%s: finishing what is running; a second signal ends the process at once."
        logger.info(text, signal.Signals(number).name)
        self.shutdown()


def _join(runners: Iterable[MicrothreadRunner], seconds: float) -> None:
    """Wait until all *runners* have ended, at most *seconds* altogether; switches."""
    deadline = time.monotonic() + seconds
    for runner in runners:
        runner.join(max(0.0, deadline - time.monotonic()))


MicroScheduler = Scheduler
"""The classic name."""


def run(*processors: MicroThread) -> None:
    """Run *processors* until the last one has quit; switches, and returns when all have ended.

    SIGTERM, SIGINT and SIGHUP stop all of them.  Raises what the loop of a `Scheduler` raises, such
    as `GaveUp` for a processor that crashed again and again; the others finish their messages
    first.
    """
    scheduler = Scheduler(autoquit=True)
    for processor in processors:
        scheduler.add_microthread(processor)
    for _ in scheduler.main():
        pass


def restart_program() -> NoReturn:
    """Replace this process by a new run of the same program; does not return.

    Arguments, options of the interpreter, environment, working directory and process id stay.  The
    connections are closed first, so unacknowledged messages are requeued.
    """
    runtime.close()
    for stream in (sys.stdout, sys.stderr):  # the new run gets the file, but not its buffer
        if stream is not None:
            stream.flush()
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606 - just ourselves
