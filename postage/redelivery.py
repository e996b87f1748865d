"""Counts how often a message was delivered without being acknowledged or rejected.  Pure."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

__all__ = ["Redeliveries"]

KEPT = 10_000
"""The number of redelivered messages that are counted; one more replaces the oldest one."""


class Redeliveries:
    """Counts the deliveries of messages that are redelivered.

    A quorum queue counts the earlier deliveries of a message (header ``x-delivery-count``).  Other
    queues only mark a message as redelivered.  Their messages are counted here by queue and
    message id, until the process ends.
    """

    def __init__(self, kept: int = KEPT) -> None:
        self._kept = kept
        self._seen: OrderedDict[tuple[str, str], int] = OrderedDict()

    def __len__(self) -> int:
        return len(self._seen)

    def deliveries(
        self, queue: str, message_id: str | None, headers: Mapping[str, Any] | None
    ) -> int:
        """Count a delivery that is marked as redelivered; return the least number of deliveries.

        Call this once for each such delivery, and for no other: in the first delivery of a message,
        the header was written by the publisher.
        """
        count = (headers or {}).get("x-delivery-count")
        if isinstance(count, int):
            return count + 1  # the header counts the deliveries before this one
        if message_id is None:
            return 2
        before = self._seen.pop((queue, message_id), 1)
        self._seen[queue, message_id] = before + 1
        if len(self._seen) > self._kept:
            self._seen.popitem(last=False)
        return before + 1
