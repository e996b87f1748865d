"""The consumer timeout of quorum queues: which deliveries are unacknowledged for too long."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Container

from postage.broker.core.clock import Timer, Timers
from postage.broker.session.base_channel import UnackedCount

__all__ = ["DeliveryWatch", "Recipient"]

Recipient = tuple[str, UnackedCount]
"""The tag of a consumer and its count, which tells it from a later consumer with this tag."""


class DeliveryWatch:
    """Watches deliveries of one channel.

    *unsettled* returns the tags of those that have not been settled.  *on_late* is called with the
    tag and the consumer of each that has not been settled in time.
    """

    def __init__(
        self,
        timers: Timers,
        unsettled: Callable[[], Container[int]],
        on_late: Callable[[int, Recipient], None],
    ) -> None:
        self._timers, self._unsettled, self._on_late = timers, unsettled, on_late
        self._due: list[tuple[float, int, Recipient]] = []
        """A heap by the end of the time; the first one has not been settled, others may have."""
        self._timer: Timer | None = None

    def add(self, tag: int, seconds: float, recipient: Recipient) -> None:
        """Watch the delivery *tag* for *seconds*."""
        heapq.heappush(self._due, (self._timers.now() + seconds, tag, recipient))
        self._wait()

    def close(self) -> None:
        """Watch nothing any more."""
        self._due.clear()
        self._wait()

    def _wait(self) -> None:
        """Set the timer for the first delivery that has not been settled."""
        unsettled = self._unsettled()
        while self._due and self._due[0][1] not in unsettled:
            heapq.heappop(self._due)
        if self._timer is not None:
            self._timer.cancel()
        left = max(0.0, self._due[0][0] - self._timers.now()) if self._due else None
        self._timer = None if left is None else self._timers.later(left, self._check)

    def _check(self) -> None:
        now, unsettled = self._timers.now(), self._unsettled()
        late = []
        while self._due and self._due[0][0] <= now:
            _, tag, recipient = heapq.heappop(self._due)
            if tag in unsettled:
                late.append((tag, recipient))
        for tag, recipient in late:
            self._on_late(tag, recipient)
        self._wait()
