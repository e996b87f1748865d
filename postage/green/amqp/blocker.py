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
from dataclasses import dataclass
from types import FrameType

import gevent.hub
import gevent.monkey

from postage import dispatch
from postage.callables import name_of

__all__ = ["Holder", "ThreadClock", "blocking_frame", "holder_of", "last_handler"]

# Without pathlib: importing it would slow down the start of every program.
_OURS = tuple(str(each.__file__).rpartition(os.sep)[0] + os.sep for each in (dispatch, gevent.hub))
_INSIDE = (*_OURS, "<frozen ")  # the interpreter's own frames at the start of a program
_STDLIB = os.__file__.rpartition(os.sep)[0] + os.sep
_INSTALLED = tuple(f"{os.sep}{name}{os.sep}" for name in ("site-packages", "dist-packages"))
_DISPATCH = dispatch.__file__
_thread_id = gevent.monkey.get_original("_thread", "get_native_id")
_TIMES = slice(11, 13)
"""The fields utime and stime of /proc/PID/task/TID/stat, after the name of the thread (proc(5))."""


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
            ran, waited, _ = self._text("schedstat").split()
            if int(ran):  # else the kernel does not count it
                return (int(ran) + int(waited)) / 1e9
        except OSError:
            pass
        try:
            ticks = sum(map(int, self._text("stat").rpartition(b")")[2].split()[_TIMES]))
        except OSError:
            return math.inf
        return ticks / os.sysconf("SC_CLK_TCK")

    def _text(self, name: str) -> bytes:
        # Without a file object, because the sampler reads this twenty times a second.
        descriptor = os.open(f"{self._task}/{name}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            return os.read(descriptor, 1024)
        finally:
            os.close(descriptor)


@dataclass(frozen=True)
class Holder:
    """The code that holds a hub: the handler, if there is one, and the lines that run."""

    handler: str
    """The handler and its processor; empty outside of handlers."""
    places: tuple[str, ...]
    """File, line and function, without repetitions: of the handler, of the innermost code of the
    program itself, and of the library that it has called.  Outside of handlers in reverse order,
    and the last one is the outermost caller."""
    place: str
    """The innermost of them that is code of the program itself: the line to look at."""

    def __str__(self) -> str:
        if self.handler:
            return f"handler {self.handler} at {', in '.join(self.places)}"
        return ", called from ".join(self.places)


def holder_of(frame: FrameType | None) -> Holder | None:
    """Say which code runs in *frame*, the innermost of a native thread.

    Returns None when only code of Postage and gevent is running: then no other code holds the hub.
    """
    stack = _stack(frame)
    outside = [frame for frame in stack if not frame.f_code.co_filename.startswith(_INSIDE)]
    if not outside:
        return None
    index = next((index for index, frame in enumerate(stack) if _calls_a_handler(frame)), None)
    if index is None:
        own = next((each for each in outside if _is_own(each)), outside[0])
        return Holder("", _places(outside[0], own, outside[-1]), _place(own))
    # The outermost frame below the dispatcher is the handler's, unless it has not begun yet.
    below = [each for each in stack[:index] if each in outside] or outside[:1]
    package = _package(below[-1])
    own = next((each for each in below if _is_own(each, package)), below[-1])
    name = name_of(stack[index].f_locals[dispatch.HANDLER_VARIABLE])
    handler = f"{name}{_processor(stack[index:])}"
    return Holder(handler, _places(below[-1], own, below[0]), _place(own))


def last_handler(frame: FrameType | None) -> Holder | None:
    """Name the handler that has just ended in *frame*, by the line of its definition.

    For a look that was late: the line that has held the hub has ended before.
    """
    stack = _stack(frame)
    index = next((index for index, each in enumerate(stack) if _calls_a_handler(each)), None)
    if index is None:
        return None
    handler = stack[index].f_locals[dispatch.HANDLER_VARIABLE]
    code = getattr(getattr(handler, "__func__", handler), "__code__", None)
    place = (
        f"{code.co_filename}:{code.co_firstlineno} (somewhere in {code.co_name})" if code else ""
    )
    return Holder(f"{name_of(handler)}{_processor(stack[index:])}", (place,), place)


def blocking_frame(thread: int) -> str | None:
    """Describe what the native thread with the identity *thread* is running, for a log.

    Returns None when only code of Postage and gevent is running: then no other code holds the hub.
    """
    holder = holder_of(sys._current_frames().get(thread))  # noqa: SLF001 - it is documented
    return None if holder is None else str(holder)


def _package(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__")).partition(".")[0]


def _is_own(frame: FrameType, package: str = "") -> bool:
    """Tell whether *frame* runs code of the program itself, or of *package*, and no library."""
    file = frame.f_code.co_filename
    is_library = file.startswith(_STDLIB) or any(folder in file for folder in _INSTALLED)
    return not is_library or _package(frame) == package


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


def _places(*frames: FrameType) -> tuple[str, ...]:
    return tuple(dict.fromkeys(map(_place, frames)))


def _place(frame: FrameType) -> str:
    code = frame.f_code
    return f"{code.co_filename}:{frame.f_lineno} ({code.co_name})"
