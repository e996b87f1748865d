"""A clock that a test sets."""

from __future__ import annotations

__all__ = ["Clock"]


class Clock:
    """Returns `now` when called; a test adds to `now` to let time pass."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        """Return the time in seconds."""
        return self.now
