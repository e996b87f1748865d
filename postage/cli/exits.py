"""Exit codes, and the errors that lead to them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from postage.errors import (
    ConnectionFailed,
    ConnectionLost,
    PostageError,
    SettingsError,
    TopologyMismatch,
)

__all__ = ["CODES", "exit_codes"]

CODES: dict[type[PostageError], int] = {
    SettingsError: 2,
    ConnectionFailed: 3,
    ConnectionLost: 3,
    TopologyMismatch: 5,
}
"""2: usage, 3: the broker is unreachable or was lost, 5: topology; every other error is 1."""


@contextmanager
def exit_codes() -> Iterator[None]:
    """End the program with one clear line and the right exit code at a `PostageError`."""
    try:
        yield
    except PostageError as exc:
        print(f"{type(exc).__name__}: {exc}", file=sys.stderr)
        sys.exit(next((code for kind, code in CODES.items() if isinstance(exc, kind)), 1))
