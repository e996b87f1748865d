"""A clock that goes when a test says so."""

from __future__ import annotations

__all__ = ["Clock"]


class Clock:
    """Call it for the time; add to `now` to have some pass."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        """Return the seconds since whenever."""
        return self.now
