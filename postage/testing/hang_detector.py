"""A time limit for tests that works even if the event loop is stuck or Python code never ends.

How it works
------------
A native thread waits for the limit.  When the time is over, the thread prints the stacks of all
threads and greenlets, then sends a signal to the main thread.  The signal handler raises `TestHung`
in the greenlet that is running.  If none is running, because the hub waits in its event loop, the
hub passes the exception on to the main greenlet; gevent does so only for a KeyboardInterrupt, so
`TestHung` is one.

C code that never returns keeps signal handlers from running.  For that case `faulthandler`, which
does not need the GIL, prints the stacks of the threads and ends the process `GRACE` seconds later.
"""

from __future__ import annotations

import _thread
import contextlib
import faulthandler
import gc
import os
import signal
import sys
import threading
from collections.abc import Iterator
from traceback import format_stack
from types import FrameType
from typing import Any

GRACE = 20.0
"""Seconds between the interruption and the end of a process that has not reacted to it."""
SIGNAL = getattr(signal, "SIGRTMAX", signal.SIGXCPU)
"""A signal that hardly any program uses."""


class TestHung(KeyboardInterrupt):
    """A test, or its set-up or tear-down, took longer than its time limit."""

    __test__ = False  # not a test class, whatever its name says to pytest


class HangDetector:
    """Limits the time of blocks in the main thread, one at a time; prints to *descriptor*."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._message = ""

    @contextlib.contextmanager
    def limit(self, subject: str, seconds: float) -> Iterator[None]:
        """Raise `TestHung`, after printing all stacks, if the block takes over *seconds*."""
        done = _native("allocate_lock")()
        done.acquire()
        signal.signal(SIGNAL, self._interrupt)
        _native("start_new_thread")(self._watch, (done, subject, seconds))
        faulthandler.dump_traceback_later(seconds + GRACE, exit=True, file=self.descriptor)
        try:
            yield
        finally:
            done.release()
            faulthandler.cancel_dump_traceback_later()

    def _watch(self, done: Any, subject: str, seconds: float) -> None:
        if done.acquire(timeout=seconds):
            return
        self._message = f"{subject} hung for more than {seconds:g} s"
        self._print(f"\n\n{self._message}; all threads and greenlets:\n\n")
        self._print(all_stacks())
        if not done.acquire(blocking=False):  # else the block ended while we printed
            signal.pthread_kill(threading.main_thread().ident or 0, SIGNAL)

    def _interrupt(self, _signal: int, _frame: FrameType | None) -> None:
        raise TestHung(self._message)

    def _print(self, text: str) -> None:
        os.write(self.descriptor, text.encode(errors="replace"))


def _native(name: str) -> Any:
    """Return *name* of ``_thread`` as it was before gevent patched it: for a native thread."""
    monkey = sys.modules.get("gevent.monkey")
    return getattr(_thread, name) if monkey is None else monkey.get_original("_thread", name)


def all_stacks() -> str:
    """Return the stacks of all threads, then of all greenlets that have started and not ended.

    `gevent.util.format_run_info` leaves out the greenlets' stacks when another thread calls it.
    """
    frames = sys._current_frames()  # noqa: SLF001 - documented
    stacks = [(f"thread {ident:#x}", frame) for ident, frame in frames.items()]
    library = sys.modules.get("greenlet")
    if library is not None:  # else there are no greenlets
        greenlets = [each for each in gc.get_objects() if isinstance(each, library.greenlet)]
        stacks += [(repr(each), each.gr_frame) for each in greenlets if each.gr_frame is not None]
    return (
        "\n".join(f"--- {title}\n{''.join(format_stack(frame))}" for title, frame in stacks) + "\n"
    )
