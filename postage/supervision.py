"""Supervision: who is started again after an end, how often, and after which pauses.  Pure.

The words are Erlang's, and mean what they mean there.
"""

from __future__ import annotations

import enum

from postage.errors import SettingsError

__all__ = ["End", "Policy", "Restarts", "starts_again"]

LONGEST_PAUSE = 5.0
"""Seconds: pauses do not grow beyond that."""


class Policy(enum.Enum):
    """Whether something that has ended is started again."""

    PERMANENT = "permanent"
    """It is, unless it was told to end."""
    TRANSIENT = "transient"
    """It is when it has crashed."""
    TEMPORARY = "temporary"
    """It is not."""


class End(enum.Enum):
    """How something has ended."""

    TOLD = enum.auto()
    """Somebody wanted it to."""
    FINISHED = enum.auto()
    """By itself, and orderly."""
    CRASHED = enum.auto()
    """By an error."""


_STARTED_AGAIN: dict[Policy, frozenset[End]] = {
    Policy.PERMANENT: frozenset({End.FINISHED, End.CRASHED}),
    Policy.TRANSIENT: frozenset({End.CRASHED}),
    Policy.TEMPORARY: frozenset(),
}


def starts_again(restart: object, end: End) -> bool:
    """Tell whether what ended so is started again by the policy *restart*, a `Policy` or its word.

    Raises `SettingsError` where *restart* is neither.
    """
    try:
        return end in _STARTED_AGAIN[Policy(restart)]
    except ValueError:
        words = ", ".join(repr(each.value) for each in Policy)
        raise SettingsError(f"restart must be one of {words}, and not {restart!r}") from None


class Restarts:
    """Counts the restarts of one thing: at most *intensity* in any *period* of seconds."""

    def __init__(self, intensity: int = 5, period: float = 60.0, pause: float = 0.05) -> None:
        self._intensity, self._period, self._pause = intensity, period, pause
        self._times: list[float] = []

    def pause(self, now: float) -> float | None:
        """Return how many seconds to wait before the next start; None: it is time to give up.

        The first restart is at once, the pause before the second one is short, and then doubles.
        """
        while self._times and self._times[0] <= now - self._period:
            del self._times[0]
        if len(self._times) >= self._intensity:
            return None
        self._times.append(now)
        return min(LONGEST_PAUSE, self._growing(len(self._times)))

    def _growing(self, count: int) -> float:
        return 0.0 if count == 1 else self._pause * 2.0 ** min(count, 64)
