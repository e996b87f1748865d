"""Finds the code that holds a hub: the handler and the line that its native thread is running.

`HubMonitor` calls this from another native thread.  In the stack, the handler is the local variable
`dispatch.HANDLER_VARIABLE` of a frame of `postage.dispatch`, and its processor is the first
``self`` further out that has a fingerprint.
"""

from __future__ import annotations

import os
import sys
from types import FrameType

import gevent.hub

from postage import dispatch

__all__ = ["blocking_frame"]

# Not by pathlib, which every program would load for this.
_OURS = tuple(str(each.__file__).rpartition(os.sep)[0] + os.sep for each in (dispatch, gevent.hub))
_INSIDE = (*_OURS, "<frozen ")  # the interpreter's own frames at the start of a program
_DISPATCH = dispatch.__file__


def blocking_frame(thread: int) -> str | None:
    """Describe what the native thread with the identity *thread* is running, for a log.

    Returns None when that is only code of Postage and gevent: then no other code holds the hub.
    """
    stack = _stack(sys._current_frames().get(thread))  # noqa: SLF001 - it is documented
    outside = [frame for frame in stack if not frame.f_code.co_filename.startswith(_INSIDE)]
    if not outside:
        return None
    place = next((place for place, frame in enumerate(stack) if _calls_a_handler(frame)), None)
    if place is None:
        return _path(outside[0], outside[-1], "called from")
    # The frame below the call is the handler's, unless the handler has not quite begun.
    handler = stack[place - 1] if place and stack[place - 1] in outside else outside[0]
    name = dispatch.name_of(stack[place].f_locals[dispatch.HANDLER_VARIABLE])
    return f"handler {name}{_processor(stack[place:])} at {_path(handler, outside[0], 'in')}"


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
    """Return `` of Class 'name'`` for the processor that has called the handler."""
    for frame in stack:
        processor = frame.f_locals.get("self")
        # No code of the user's may run here, so look into __dict__: this is the wrong thread.
        fingerprint = getattr(processor, "__dict__", {}).get("fingerprint")
        if fingerprint:
            return f" of {type(processor).__name__} {fingerprint.get('name')!r}"
    return ""


def _path(frame: FrameType, other: FrameType, link: str) -> str:
    return _line(frame) if frame is other else f"{_line(frame)}, {link} {_line(other)}"


def _line(frame: FrameType) -> str:
    code = frame.f_code
    return f"{code.co_filename}:{frame.f_lineno} ({code.co_name})"
