"""A queue of type ``quorum``: its counts of deliveries, its delivery limit, and delayed retries.

It is not replicated.  Which returns count as failures, and where a message returns to, depends on
the version of RabbitMQ: see `Likeness`.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from postage.broker.core.backlog import AT_ONCE
from postage.broker.core.clock import Timer
from postage.broker.core.likeness import Likeness
from postage.broker.core.queue import BrokerQueue, QueuedMessage, Return
from postage.broker.wire.content import PublishedMessage, encode_properties, encoded_headers
from postage.broker.wire.fields import Long
from postage.protocol import PROPERTY_FLAGS

__all__ = ["QuorumQueue"]

_HAS_PRIORITY = PROPERTY_FLAGS["priority"] >> 8
"""The flag of the priority in the first byte of an encoded header."""
USUAL_PRIORITY = 4
"""The priority of messages without one, in quorum queues of RabbitMQ 4."""


class QuorumQueue(BrokerQueue):
    """A quorum queue."""

    counts_deliveries = True

    def __init__(self, *arguments: Any, likeness: Likeness, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._likeness = likeness
        self._left = 0
        self._delayed: list[tuple[float, int, QueuedMessage]] = []
        """A heap of messages that come back later, by the moment."""
        self._retry: Timer | None = None
        """Returns the first of the delayed messages when it is due."""

    def publish(self, message: PublishedMessage, level: int | None = None) -> bool:
        """Put *message* into the queue if the queue accepts it; return whether it does."""
        header = message.header
        level = header.priority if header.data[0] & _HAS_PRIORITY else USUAL_PRIORITY
        return super().publish(message, min(level, len(self._levels) - 1))

    def header_of(self, queued: QueuedMessage, *, is_got: bool = False) -> bytes:
        """Return the encoded header of *queued* with the counts of RabbitMQ."""
        if self._likeness.counts_every_return and (is_got or queued.failures):
            counts = {"x-delivery-count": Long(queued.failures)}
        elif queued.redelivered:
            counts = {"x-acquired-count": Long(queued.deliveries - 1)}
            if queued.failures:
                counts["x-delivery-count"] = Long(queued.failures)
        else:
            return queued.header.data
        values, headers = encoded_headers(queued.header.data)
        return encode_properties({**values, "headers": {**headers, **counts}})

    def _mark_delivered(self, queued: QueuedMessage) -> QueuedMessage:
        self._left = self._count
        return super()._mark_delivered(queued)

    @property
    def left(self) -> int:
        """How many messages were ready after the last `get`, with those that had expired."""
        return self._left

    # --- expiry

    def _fronts(self) -> Iterator[tuple[QueuedMessage, Callable[[], object]]]:
        """Yield the first message that has come back, and the first others of each priority.

        Each has the function that takes it out.
        """
        for heap in self._returned:
            if heap:
                yield heap[0][1], partial(heapq.heappop, heap)
        for level in self._levels:
            if level:
                yield level[0], level.popleft

    def _pop_expired(self, now: float) -> QueuedMessage | None:
        if not self._likeness.expires_behind:
            return super()._pop_expired(now)
        for queued, take in self._fronts():
            if queued.expires_at is not None and queued.expires_at <= now:
                take()
                self._count -= 1
                self.body_bytes -= len(queued.body)
                return queued
        return None

    def _next_expiry(self) -> float:
        if not self._likeness.expires_behind:
            return super()._next_expiry()
        fronts = (queued.expires_at for queued, _ in self._fronts())
        return min((each for each in fronts if each is not None), default=math.inf)

    # --- coming back

    def requeue(self, queued: QueuedMessage, cause: Return = Return.REJECTED) -> None:
        """Put *queued* back, now or later; dead-letter it beyond the delivery limit."""
        failed = cause is not Return.GIVEN_BACK or self._likeness.counts_every_return
        queued.failures += failed
        limit, retry = self.options.delivery_limit, self.options.delayed_retry
        if limit is not None and queued.failures > limit:
            self.dead_letter(queued, "delivery_limit")
        elif retry is not None and (delay := retry.delay(queued.failures, failed=failed)):
            self._requeue_later(queued, delay)
        elif limit is None and cause is not Return.LOST and self._likeness.returns_to_back:
            self._levels[0].append(queued)
            self._add(queued)
        else:
            self._requeue_now(queued)

    def _requeue_now(self, queued: QueuedMessage) -> None:
        """Put *queued* behind the messages that have come back before, and before all others."""
        self._last_seq += 1
        queued.seq, queued.level = self._last_seq, len(self._levels) - 1
        super().requeue(queued)

    def _requeue_later(self, queued: QueuedMessage, delay: float) -> None:
        self._last_seq += 1
        queued.seq = self._last_seq
        heapq.heappush(self._delayed, (self._timers.now() + delay, queued.seq, queued))
        if self._delayed[0][2] is queued:
            self._watch_delayed()

    def _watch_delayed(self) -> None:
        if self._retry is not None:
            self._retry.cancel()
        due = self._delayed[0][0] - self._timers.now() if self._delayed else None
        self._retry = None if due is None else self._timers.later(max(0.0, due), self._requeue_due)

    def _requeue_due(self) -> None:
        """Put back the delayed messages that are due, `AT_ONCE` at most."""
        now = self._timers.now()
        for _ in range(AT_ONCE):
            if not self._delayed or self._delayed[0][0] > now:
                break
            self._requeue_now(heapq.heappop(self._delayed)[2])
        self._watch_delayed()
        self.dispatch()

    # --- delayed messages count as others do, except that they are not ready

    def _overflows(self, more: int, more_bytes: int) -> bool:
        return super()._overflows(more + len(self._delayed), more_bytes)

    def purge(self) -> int:
        """Discard all messages that are ready or delayed; return their number."""
        delayed, self._delayed = self._delayed, []
        self._watch_delayed()
        messages = deque(queued for _, _, queued in delayed)
        self._backlog.each(messages, self._free, "messages that are freed")
        return super().purge() + len(delayed)
