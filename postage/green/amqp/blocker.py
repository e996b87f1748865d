"""Finds the code that holds a hub: the handler and the line that its native thread is running.

`ThreadClock` tells whether that code computes or waits.

`HubMonitor` calls this from another native thread.  The stack of the hub's thread shows the handler
in the local variable `dispatch.HANDLER_VARIABLE` of a frame of `postage.dispatch`.  The processor
is the ``self`` of the nearest calling frame in which ``self`` has a fingerprint.
"""

from __future__ import annotations

import math
import os
import sys
from types import FrameType

import gevent.hub
import gevent.monkey

from postage import dispatch
from postage.callables import name_of

__all__ = ["ThreadClock", "blocking_frame"]

# Without pathlib: importing it would slow down the start of every program.
_OURS = tuple(str(each.__file__).rpartition(os.sep)[0] + os.sep for each in (dispatch, gevent.hub))
_INSIDE = (*_OURS, "<frozen ")  # the interpreter's own frames at the start of a program
_DISPATCH = dispatch.__file__
_thread_id = gevent.monkey.get_original("_thread", "get_native_id")
_TIMES = slice(11, 13)
"""The fields utime and stime of /proc/PID/task/TID/stat, after the name of the thread (proc(5))."""
_WAITED = 1
"""The field of /proc/PID/task/TID/schedstat with the nanoseconds of waiting for a processor."""


class ThreadClock:
    """Measures how long the native thread that made it wants to run; for any native thread.

    That is its processor time, and the time for which it waits for a processor: on a busy machine,
    code that computes has little of the first.  Code that waits for something else has neither.
    """

    def __init__(self) -> None:
        self._task = f"/proc/self/task/{_thread_id()}"
        self._began = 0.0

    def start(self) -> None:
        """Begin to measure."""
        self._began = self._read()

    def elapsed(self) -> float:
        """Return the seconds since `start`; infinity where the system does not tell them."""
        return self._read() - self._began

    def _read(self) -> float:
        try:
            ticks = sum(map(int, self._text("stat").rpartition(b")")[2].split()[_TIMES]))
        except OSError:
            return math.inf
        try:
            waited = int(self._text("schedstat").split()[_WAITED])
        except OSError:  # the kernel does not count it
            waited = 0
        return ticks / os.sysconf("SC_CLK_TCK") + waited / 1e9

    def _text(self, name: str) -> bytes:
        with open(f"{self._task}/{name}", "rb") as file:  # noqa: PTH123 - as above: pathlib is slow to import
            return file.read()


def blocking_frame(thread: int) -> str | None:
    """Describe what the native thread with the identity *thread* is running, for a log.

    Returns None when only code of Postage and gevent is running: then no other code holds the hub.
    """
    stack = _stack(sys._current_frames().get(thread))  # noqa: SLF001 - it is documented
    outside = [frame for frame in stack if not frame.f_code.co_filename.startswith(_INSIDE)]
    if not outside:
        return None
    index = next((index for index, frame in enumerate(stack) if _calls_a_handler(frame)), None)
    if index is None:
        return _locations(outside[0], outside[-1], "called from")
    # The frame called by the dispatcher is the handler's, unless the handler has not begun yet.
    handler = stack[index - 1] if index and stack[index - 1] in outside else outside[0]
    name = name_of(stack[index].f_locals[dispatch.HANDLER_VARIABLE])
    return f"handler {name}{_processor(stack[index:])} at {_locations(handler, outside[0], 'in')}"


def _stack(frame: FrameType | None) -> list[FrameType]:
    """Return *frame* and its callers, the innermost first."""
    stack = []
    while frame is not None:
        stack.append(frame)
        frame = frame.f_back
    return stack


def _calls_a_handler(frame: FrameType) -> bool:
    in_dispatch = frame.f_code.co_filename == _DISPATCH
    return in_dispatch and dispatch.HANDLER_VARIABLE in frame.f_locals


def _processor(stack: list[FrameType]) -> str:
    """Return `` of Class 'name'`` for the processor that called the handler, or an empty text."""
    for frame in stack:
        processor = frame.f_locals.get("self")
        # Look into __dict__, so that no property of the user's runs in this native thread.
        fingerprint = getattr(processor, "__dict__", {}).get("fingerprint")
        if fingerprint:
            return f" of {type(processor).__name__} {fingerprint.get('name')!r}"
    return ""


def _locations(frame: FrameType, other: FrameType, link: str) -> str:
    return _location(frame) if frame is other else f"{_location(frame)}, {link} {_location(other)}"


def _location(frame: FrameType) -> str:
    code = frame.f_code
    return f"{code.co_filename}:{frame.f_lineno} ({code.co_name})"
