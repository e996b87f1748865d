"""The scheduler: runs microthreads, processors above all, each in its own greenlet."""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import gevent
import gevent.event

from postage.dispatch import After
from postage.errors import ExitScheduler
from postage.green.microthread import MicroThread
from postage.green.processor import GRACE, MessageProcessor

__all__ = ["MicroScheduler", "run"]

logger = logging.getLogger(__name__)

TURN = 0.1
"""Seconds after which the loop body runs again although nothing happened."""

HEAD_START = 2.0
"""Seconds within which processors stop one after the other; then the rest stops at once.  Where
handlers have less than twice that to finish, half of what they have."""


class _Run:
    """One microthread and the greenlet that runs it."""

    def __init__(self, microthread: MicroThread, turned: gevent.event.Event) -> None:
        self.microthread = microthread
        self.after = After.GO_ON
        self.error: BaseException | None = None
        self._turned = turned
        self._generator = microthread.main()
        next(self._generator)  # create() runs when the microthread is added
        self._leaving = False
        self.greenlet = gevent.Greenlet(self._drive)
        self.greenlet.name = repr(type(microthread).__name__)
        self.greenlet.rawlink(lambda _: turned.set())

    @property
    def patience(self) -> float:
        """Seconds that its handlers have to finish."""
        if isinstance(self.microthread, MessageProcessor):
            return self.microthread.shutdown_timeout
        return 0.0

    @property
    def is_processor(self) -> bool:
        return isinstance(self.microthread, MessageProcessor)

    def leave(self) -> None:
        """Have it end: at once where it can, else after its running step."""
        self._leaving = True
        if isinstance(self.microthread, MessageProcessor):
            self.microthread.stop_consuming()

    def abandon(self) -> None:
        """Give what runs in it no more time."""
        if isinstance(self.microthread, MessageProcessor):
            self.microthread.abandon()

    def _drive(self) -> None:
        try:
            for _ in self._generator:
                self._turned.set()
                gevent.sleep(0)
                if self._leaving:
                    return
        except ExitScheduler:
            self.after = After.EXIT
        except RuntimeError as exc:
            # PEP 479: a generator of the user's own let StopIteration out.
            if not isinstance(exc.__cause__, StopIteration):
                self.error = exc
        except Exception as exc:
            self.error = exc


class MicroScheduler:
    """Runs microthreads until they end: ``for _ in scheduler.main(): pass`` is a whole program.

    The loop ends when a processor was told to quit and no other one is left, when a microthread
    raises `ExitScheduler`, at SIGTERM or SIGINT, and, with *autoquit*, when none is left.  Other
    processors finish their messages first.  An error of a microthread is raised in the loop.
    """

    def __init__(self, autoquit: bool = False) -> None:  # noqa: FBT001, FBT002 - the classic signature
        self.autoquit = autoquit
        self._turned = gevent.event.Event()
        self._runs: list[_Run] = []
        self._after = After.GO_ON
        self._restarting: MessageProcessor | None = None
        self._running = False
        self._signalled = False
        self._ended = gevent.event.Event()
        self._ended.set()

    def add_microthread(self, mthread: MicroThread) -> None:
        """Add a microthread and run its ``create()``; it starts with the loop, or joins it."""
        run_ = _Run(mthread, self._turned)
        self._runs.append(run_)
        if self._running:
            run_.greenlet.start()

    def main(self) -> Iterator[int]:
        """Run: a generator that yields after each turn of a microthread, and ten times a second."""
        yield 1
        with self._signals():
            self._running = True
            self._ended.clear()
            for run_ in self._runs:
                run_.greenlet.start()
            try:
                while not self._is_over():
                    self._turned.wait(TURN)
                    self._turned.clear()
                    yield 1
            finally:
                self._stop()
        if self._restarting is not None:
            self._restarting.restart()

    def shutdown(self) -> None:
        """End the loop: processors finish the messages they have.  Never switches."""
        self._after = After.EXIT
        self._turned.set()

    def stop(self, timeout: float | None = None) -> None:
        """End the loop and wait until everything in it has ended; switches.

        Handlers get *timeout* seconds at most, by default each processor's ``shutdown_timeout``;
        what has not finished then goes back to its queue, within another second.  Not for whoever
        runs in the loop, or runs the loop: they would wait for themselves, and call `shutdown`.
        """
        self.shutdown()
        if not self._ended.wait(timeout):
            for run_ in self._runs:
                run_.abandon()
            self._ended.wait(2 * GRACE)

    def _is_over(self) -> bool:
        """Take note of who has ended, and tell whether that is the end of all."""
        for run_ in [run_ for run_ in self._runs if run_.greenlet.dead]:
            self._runs.remove(run_)
            self._note_end(run_)
        if self._after > After.QUIT:
            return True
        if self._after is After.QUIT:
            return not any(isinstance(run_.microthread, MessageProcessor) for run_ in self._runs)
        return self.autoquit and not self._runs

    def _note_end(self, run_: _Run) -> None:
        if run_.error is not None:
            raise run_.error
        after, microthread = run_.after, run_.microthread
        if isinstance(microthread, MessageProcessor):
            after = max(after, microthread.ending)
            self._restarting = microthread if after is After.RESTART else self._restarting
        if after is not After.STOP:
            self._after = max(self._after, after)

    def _stop(self) -> None:
        """End all that runs, the last added first, as who was added later may call who was there.

        Each has a head start on the next, of `HEAD_START` seconds for all together: a processor
        that stopped while others still call it would leave them waiting for its answer.  When the
        longest ``shutdown_timeout`` is over, none of them gets more time.
        """
        limit = max((run_.patience for run_ in self._runs), default=0.0)
        started = time.monotonic()
        head_start = min(HEAD_START, limit / 2)
        for run_ in reversed(self._runs):
            run_.leave()
            if run_.is_processor:
                run_.greenlet.join(max(0.0, started + head_start - time.monotonic()))
        processors = [run_ for run_ in self._runs if run_.is_processor]
        greenlets = [run_.greenlet for run_ in processors]
        gevent.joinall(greenlets, timeout=max(0.0, started + limit - time.monotonic()))
        for run_ in processors:
            run_.abandon()
        gevent.joinall(greenlets, timeout=GRACE)
        gevent.killall([run_.greenlet for run_ in self._runs], timeout=GRACE)
        self._runs.clear()
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
            raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(128 + number)
        self._signalled = True
        self._restarting = None  # who restarts just now is to end as well
        logger.info("%s: finishing what is running.", signal.Signals(number).name)
        self.shutdown()


def run(*processors: MicroThread) -> None:
    """Run *processors* until the last one has quit; switches, and returns when all have ended.

    SIGTERM and SIGINT end them all.  Raises what ended one of them otherwise, as `ConnectionLost`;
    the others finish their messages first.
    """
    scheduler = MicroScheduler(autoquit=True)
    for processor in processors:
        scheduler.add_microthread(processor)
    for _ in scheduler.main():
        pass
