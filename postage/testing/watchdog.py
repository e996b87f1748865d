"""A time limit for tests, also when the hub waits for ever or Python code loops for ever.

A native thread waits for the limit.  When it passes, the thread prints the stacks of all threads
and greenlets, then signals the main thread, where the signal's handler raises `TestHung`: in the
greenlet that computes, or, when the hub sits in its event loop, through the hub in the main
greenlet.  `TestHung` is a KeyboardInterrupt, because gevent hands on only that kind to the main
greenlet.  Should even this not help (C code that never returns), the interpreter's own watchdog,
which needs no GIL, prints what it can and ends the process `GRACE` seconds later.
"""

from __future__ import annotations

import _thread
import contextlib
import faulthandler
import os
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any

from postage.testing.stacks import all_stacks

__all__ = ["GRACE", "TestHung", "Watchdog"]

GRACE = 20.0
"""Seconds between the interruption and the end of a process that did not react to it."""
SIGNAL = getattr(signal, "SIGRTMAX", signal.SIGXCPU)
"""A signal that hardly anybody else uses."""


class TestHung(KeyboardInterrupt):
    """A test, or its set-up or tear-down, took longer than its limit."""

    __test__ = False  # not a test class, whatever its name says to pytest


class Watchdog:
    """Guards pieces of work of the main thread, one at a time; writes to the file *descriptor*."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        signal.signal(SIGNAL, self._interrupt)
        self._what = ""

    @contextlib.contextmanager
    def guard(self, what: str, seconds: float) -> Iterator[None]:
        """Raise `TestHung`, after printing all stacks, when the block takes over *seconds*."""
        done = _native("allocate_lock")()
        done.acquire()
        _native("start_new_thread")(self._watch, (done, what, seconds))
        faulthandler.dump_traceback_later(seconds + GRACE, exit=True, file=self._descriptor)
        try:
            yield
        finally:
            done.release()
            faulthandler.cancel_dump_traceback_later()

    def _watch(self, done: Any, what: str, seconds: float) -> None:
        if done.acquire(timeout=seconds):
            return
        self._what = f"{what} hung for more than {seconds:g} s"
        self._print(f"\n\n{self._what}; all threads and greenlets:\n\n")
        self._print(all_stacks())
        if not done.acquire(blocking=False):  # else it ended while we printed
            signal.pthread_kill(threading.main_thread().ident or 0, SIGNAL)

    def _interrupt(self, _signal: int, _frame: FrameType | None) -> None:
        raise TestHung(self._what)

    def _print(self, text: str) -> None:
        os.write(self._descriptor, text.encode(errors="replace"))


def _native(name: str) -> Any:
    """Return what ``_thread`` calls *name*: a monkey-patched process needs a native thread too."""
    monkey = sys.modules.get("gevent.monkey")
    return getattr(_thread, name) if monkey is None else monkey.get_original("_thread", name)
