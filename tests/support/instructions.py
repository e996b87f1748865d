"""The cost of a function, in instructions: a clock would be too unsteady to compare costs."""

from __future__ import annotations

import gc
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


def instructions(function: Callable[[], object]) -> int:
    """Return how many bytecode instructions *function* executes; C code is not counted.

    Garbage collection is off meanwhile: it may start at any allocation, and calls Python code, such
    as a callback of Hypothesis.
    """
    count = 0

    def add() -> None:
        nonlocal count
        count += 1

    collects = gc.isenabled()
    gc.disable()
    try:
        with calling(add):
            function()
    finally:
        if collects:
            gc.enable()
    return count


@contextmanager
def monitored(add: Callable[[], None]) -> Iterator[None]:
    """Call *add* for each instruction of this thread in the block."""
    monitoring, thread = sys.monitoring, threading.get_ident()
    tool, event = monitoring.OPTIMIZER_ID, monitoring.events.INSTRUCTION

    def on_instruction(*_place: object) -> None:
        if threading.get_ident() == thread:
            add()

    monitoring.use_tool_id(tool, "instructions")
    monitoring.register_callback(tool, event, on_instruction)
    monitoring.set_events(tool, event)
    try:
        yield
    finally:
        monitoring.set_events(tool, 0)
        monitoring.free_tool_id(tool)


@contextmanager
def traced(add: Callable[[], None]) -> Iterator[None]:
    """Do the same with a trace function, which from Python 3.12 on misses the first instructions of
    code that it has not seen before.
    """

    def trace(frame: FrameType, event: str, _argument: object) -> Any:
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        if event == "opcode":
            add()
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(before)


calling = monitored if hasattr(sys, "monitoring") else traced
