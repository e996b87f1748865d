"""At SIGUSR1, a process of ``postage run`` prints its flight record to stderr.

The handler of the signal runs between two instructions of whatever Python code runs, so it also
prints while a handler holds the hub, and shows the stack of that code.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from postage.flight_recorder import WINDOW, flight_recorder
from postage.foreign_text import one_line

__all__ = ["print_record_at_signal", "signal_held_back"]


def print_record_at_signal() -> None:
    """From now on, print the record at SIGUSR1, unless the program itself handles the signal.

    For the main thread.  A signal that `signal_held_back` has held back is handled now.
    """
    if signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL:
        signal.signal(signal.SIGUSR1, _print_record)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGUSR1})


@contextmanager
def signal_held_back() -> Iterator[None]:
    """Hold SIGUSR1 back from processes started in the block, until they can print the record.

    The signal would end a process that is still starting.  For the thread that starts it.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _print_record(_number: int, frame: FrameType | None) -> None:
    blocker = sys.modules.get("postage.green.amqp.blocker")  # importing it would load gevent early
    holder = None if blocker is None else blocker.holder_of(frame)
    now = "nothing but Postage and gevent" if holder is None else one_line(holder)
    lines = flight_recorder.lines() or ["nothing"]
    title = f"Flight record of process {os.getpid()}, the last {WINDOW:g} s:"
    text = "\n".join([title, *(f"    {line}" for line in lines), f"    runs now: {now}"])
    if sys.stderr is not None:  # it was open at the start
        with suppress(OSError):  # nobody reads it: the error would be raised in whatever runs now
            os.write(sys.stderr.fileno(), f"{text}\n".encode(errors="backslashreplace"))
