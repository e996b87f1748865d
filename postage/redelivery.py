"""Counts how often a message was delivered without being acknowledged or rejected.  Pure.

How it works
------------
A quorum queue counts the earlier deliveries of a message (header ``x-delivery-count``).  Other
queues only mark a message as redelivered.  Nothing identifies such a message: several messages may
have the same ``message_id`` and the same body.

So deliveries are counted, not messages.  A delivery that is lost while a handler works on it leaves
its number behind, under the *marks* of the message: destination, id and body.  The next redelivered
message with these marks takes the lowest number that was left, and counts on from it.  Each number
is taken once, so the numbers of different messages never add up, and messages with the same marks
can only swap theirs.  A message that was lost before a handler began has taken no number, and one
that was acknowledged or rejected leaves none.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict
from collections.abc import Iterable
from typing import Any, Protocol

__all__ = ["CountedDelivery", "Redeliveries", "attempt_of", "marks_of"]

KEPT = 10_000
"""The deliveries whose numbers are kept; one more replaces the oldest one."""


class CountedDelivery(Protocol):
    """What must be known of a delivery."""

    channel: Any
    """Has the attribute ``alive``; after its end the broker delivers the message again."""
    times: int
    """How often the message was delivered, this time included; not set: once.  0: its number was
    left behind."""
    exchange: str
    routing_key: str
    body: bytes

    @property
    def properties(self) -> Any:
        """Has the attributes ``message_id`` and ``headers``."""


class Redeliveries:
    """The numbers of lost deliveries of one processor."""

    def __init__(self, kept: int = KEPT) -> None:
        self._kept, self._size = kept, 0
        self._left: OrderedDict[int, list[int]] = OrderedDict()
        self._channel: object = None  # the losses before it are known

    def __len__(self) -> int:
        return self._size

    def leave(self, delivery: CountedDelivery) -> None:
        """Leave the number of *delivery* behind, once: it is lost, and a handler had begun."""
        times = getattr(delivery, "times", 1)
        if not times:
            return
        delivery.times = 0
        marks = marks_of(delivery)
        heapq.heappush(self._left.setdefault(marks, []), times)
        self._left.move_to_end(marks)
        self._size += 1
        if self._size > self._kept:
            self._take(next(iter(self._left)))

    def count(self, delivery: CountedDelivery, begun: Iterable[CountedDelivery]) -> int:
        """Return how often the message of *delivery*, which is redelivered, was delivered at least.

        Call this once for each such delivery before its handler begins, and for no other delivery:
        in the first one the header was written by the publisher.  *begun* are the deliveries of the
        processor whose handlers have not ended; it is read once for each channel.
        """
        if delivery.channel is not self._channel:
            self._channel = delivery.channel
            for each in begun:
                if not each.channel.alive:
                    self.leave(each)
        before = self._take(marks_of(delivery))
        counted = _counted_by_queue(delivery)
        if counted is not None:
            before = counted  # it knows of other processes, too
        delivery.times = before + 1
        return delivery.times

    def _take(self, marks: int) -> int:
        """Remove and return the lowest number that was left under *marks*; 1 if there is none."""
        numbers = self._left.get(marks)
        if numbers is None:
            return 1
        self._size -= 1
        lowest = heapq.heappop(numbers)
        if not numbers:
            del self._left[marks]
        return lowest


def attempt_of(delivery: Any) -> int:
    """Return which attempt to handle its message *delivery* is, from 1, as far as is known.

    A quorum queue counts the deliveries.  Of other queues only this process knows how often it lost
    one, so the attempt may be a later one.
    """
    if not delivery.redelivered:
        return 1  # what a header says then, its publisher has written
    times: int = getattr(delivery, "times", 0)  # not set by a processor without `max_deliveries`
    counted = _counted_by_queue(delivery) if times < 2 else times - 1  # noqa: PLR2004 - the second
    return 2 if counted is None else max(counted, 1) + 1


def _counted_by_queue(delivery: CountedDelivery) -> int | None:
    """Return how often a quorum queue has delivered the message before; None: it does not tell."""
    try:
        counted = (delivery.properties.headers or {}).get("x-delivery-count")
    except Exception:  # a publisher may write headers that nobody can read
        return None
    # In other queues the header is the publisher's own: a negative one would never be too much, and
    # pika makes integers of up to 309 digits of floats.
    if isinstance(counted, int) and not isinstance(counted, bool) and 0 <= counted < 1 << 63:
        return counted
    return None


def marks_of(delivery: CountedDelivery) -> int:
    """Return one number for all marks, because their texts would take a kilobyte each."""
    destination = delivery.exchange, delivery.routing_key
    return hash((*destination, delivery.properties.message_id, delivery.body))
