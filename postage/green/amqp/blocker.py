"""Who holds a hub: the handler and the line that its native thread is at, seen from another one."""

from __future__ import annotations

import os
import sys
from types import FrameType

import gevent.hub

from postage import dispatch

__all__ = ["culprit"]

# Not by pathlib, which every program would load for this.
_OURS = tuple(str(each.__file__).rpartition(os.sep)[0] + os.sep for each in (dispatch, gevent.hub))
_INSIDE = (*_OURS, "<frozen ")  # and the interpreter's own way to begin a program
_DISPATCH = dispatch.__file__


def culprit(thread: int) -> str | None:
    """Return what the native thread with the identity *thread* is at, for a log.

    None when it is in no code but Postage's and gevent's: then nobody else holds its hub.
    """
    stack = _stack(sys._current_frames().get(thread))  # noqa: SLF001 - it is documented
    outside = [frame for frame in stack if not frame.f_code.co_filename.startswith(_INSIDE)]
    if not outside:
        return None
    place = next((place for place, frame in enumerate(stack) if _calls_a_handler(frame)), None)
    if place is None:
        return _path(outside[0], outside[-1], "called from")
    # The frame below the call is the handler's, unless it was only just about to begin.
    handler = stack[place - 1] if place and stack[place - 1] in outside else outside[0]
    who = dispatch.name_of(stack[place].f_locals["handler"])
    return f"handler {who}{_processor(stack[place:])} at {_path(handler, outside[0], 'in')}"


def _stack(frame: FrameType | None) -> list[FrameType]:
    """Return *frame* and those that wait for it, the innermost first."""
    stack = []
    while frame is not None:
        stack.append(frame)
        frame = frame.f_back
    return stack


def _calls_a_handler(frame: FrameType) -> bool:
    return frame.f_code.co_filename == _DISPATCH and "handler" in frame.f_locals


def _processor(stack: list[FrameType]) -> str:
    """Return `` of Class 'name'`` for the processor whose ``_take`` is in *stack*."""
    for frame in stack:
        if frame.f_code.co_name == "_take":
            processor = frame.f_locals.get("self")
            # Nothing that is the user's is called here: this is the wrong thread for it.
            name = getattr(processor, "__dict__", {}).get("fingerprint", {}).get("name")
            return f" of {type(processor).__name__} {name!r}"
    return ""


def _path(frame: FrameType, other: FrameType, how: str) -> str:
    return _line(frame) if frame is other else f"{_line(frame)}, {how} {_line(other)}"


def _line(frame: FrameType) -> str:
    code = frame.f_code
    return f"{code.co_filename}:{frame.f_lineno} ({code.co_name})"
