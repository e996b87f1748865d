"""A second native thread that does one thing all the time, beside the greenlets of a test."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def repeated_in_thread(call: Callable[[], object]) -> Iterator[None]:
    """Call *call* from another native thread, again and again, while the block lasts."""
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
