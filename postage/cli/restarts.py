"""How often what ends may be started again, and after which pauses.  Pure."""

from __future__ import annotations

from collections import deque

__all__ = ["Restarts"]


class Restarts:
    """Counts the restarts of one thing: at most *intensity* in any *period* of seconds."""

    def __init__(self, intensity: int = 5, period: float = 60.0, pause: float = 0.05) -> None:
        self._intensity, self._period, self._pause = intensity, period, pause
        self._times: deque[float] = deque()

    def pause(self, now: float) -> float | None:
        """Return how many seconds to wait before the next start; None: it is time to give up.

        The first restart is at once, the pause before the second one is short, and then doubles.
        """
        while self._times and self._times[0] <= now - self._period:
            self._times.popleft()
        if len(self._times) >= self._intensity:
            return None
        self._times.append(now)
        return 0.0 if len(self._times) == 1 else self._pause * 2.0 ** len(self._times)
