"""The stacks of all threads and greenlets of this process, as text.

`gevent.util.format_run_info` does the same, but leaves out the stacks of the greenlets when another
thread calls it, as `hang_detector` does.
"""

from __future__ import annotations

import gc
import sys
import traceback
from collections.abc import Iterator
from types import FrameType

__all__ = ["all_stacks"]


def all_stacks() -> str:
    """Return the stacks of all threads, then of all greenlets that have started and not ended."""
    return "\n".join([*_threads(), *_greenlets()]) + "\n"


def _threads() -> Iterator[str]:
    for ident, frame in sys._current_frames().items():  # noqa: SLF001 - documented
        yield _block(f"thread {ident:#x}", frame)


def _greenlets() -> Iterator[str]:
    library = sys.modules.get("greenlet")
    if library is None:  # then there are no greenlets
        return
    for thing in gc.get_objects():
        if isinstance(thing, library.greenlet) and thing.gr_frame is not None:
            yield _block(repr(thing), thing.gr_frame)


def _block(title: str, frame: FrameType) -> str:
    return f"--- {title}\n{''.join(traceback.format_stack(frame))}"
