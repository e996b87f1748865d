"""A native thread beside the greenlets of a test."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def repeated_in_thread(call: Callable[[], object]) -> Iterator[None]:
    """Call *call* again and again from another native thread during the block."""
    over = threading.Event()

    def run() -> None:
        while not over.is_set():
            call()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(20)
    assert not thread.is_alive()
