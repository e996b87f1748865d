"""Changes of source files below the working directory, told by a byte in a pipe."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from postage.cli.exits import CommandFailed

__all__ = ["CHANGED", "telling_changes"]

CHANGED = 0
"""What is written: beside it the pipe carries the numbers of signals, which begin at 1."""


@contextmanager
def telling_changes(descriptor: int) -> Iterator[None]:
    """Write `CHANGED` to *descriptor* whenever a Python file changes, while the block lasts."""
    try:
        import watchfiles  # noqa: PLC0415 - an extra
    except ImportError:
        raise CommandFailed("--reload needs watchfiles: pip install 'postage[reload]'") from None

    over = threading.Event()
    changes = watchfiles.watch(
        Path.cwd(), watch_filter=watchfiles.PythonFilter(), stop_event=over, rust_timeout=500
    )

    def tell() -> None:
        for _ in changes:
            os.write(descriptor, bytes([CHANGED]))

    watching = threading.Thread(target=tell, name="watching files", daemon=True)
    watching.start()
    try:
        yield
    finally:
        over.set()
        watching.join()  # it must not write to what will be another file
