"""The rules of restarts: which component is restarted, how often, and after which pauses.

The terms are those of Erlang's supervisors.  Pure: no clock, no I/O.
"""

from __future__ import annotations

import enum

from postage.values import value_error

__all__ = ["End", "Policy", "Restarts", "check_policy", "is_restarted"]

LONGEST_PAUSE = 5.0
"""The longest pause before a restart, in seconds."""


class Policy(enum.Enum):
    """When a component that has ended is restarted."""

    PERMANENT = "permanent"
    """Always, unless the program has asked it to stop."""
    TRANSIENT = "transient"
    """If it has crashed."""
    TEMPORARY = "temporary"
    """Never."""


class End(enum.Enum):
    """How a component has ended."""

    STOPPED = enum.auto()
    """The program has asked it to stop."""
    FINISHED = enum.auto()
    """It has ended by itself, without an error."""
    CRASHED = enum.auto()
    """An error has ended it."""


_RESTARTED: dict[Policy, frozenset[End]] = {
    Policy.PERMANENT: frozenset({End.FINISHED, End.CRASHED}),
    Policy.TRANSIENT: frozenset({End.CRASHED}),
    Policy.TEMPORARY: frozenset(),
}

_POLICIES = {*Policy, *(each.value for each in Policy)}


def is_restarted(restart: object, end: End) -> bool:
    """Tell whether the policy *restart*, a `Policy` or its value, asks for a restart after *end*.

    Raises `SettingsError` if *restart* is neither.
    """
    check_policy("restart", restart)
    return end in _RESTARTED[Policy(restart)]


def check_policy(name: str, restart: object) -> None:
    """Raise `SettingsError` if *restart*, which is called *name*, is no `Policy` or its value."""
    if not isinstance(restart, (str, Policy)) or restart not in _POLICIES:
        words = ", ".join(repr(each.value) for each in Policy)
        raise value_error(name, f"one of {words}", restart)


class Restarts:
    """Counts the restarts of one component: at most *intensity* in any *period* of seconds.

    There is no pause before the first restart.  *pause* is the pause before the second one, in
    seconds; it doubles with each further restart.
    """

    def __init__(self, intensity: int = 5, period: float = 60.0, pause: float = 0.2) -> None:
        self._intensity, self._period, self._pause = intensity, period, pause
        self._times: list[float] = []

    def pause(self, now: float) -> float | None:
        """Count a restart and return the seconds to wait before it; None if there were too many."""
        while self._times and self._times[0] <= now - self._period:
            del self._times[0]
        if len(self._times) >= self._intensity:
            return None
        self._times.append(now)
        doublings = min(len(self._times) - 2, 64)
        return 0.0 if doublings < 0 else min(LONGEST_PAUSE, self._pause * 2.0**doublings)
