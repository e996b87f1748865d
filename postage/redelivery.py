"""Counts how often a message was delivered without being acknowledged or rejected.  Pure."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

__all__ = ["Redeliveries"]

KEPT = 10_000
"""Redelivered messages that are counted; beyond that, the one not seen for longest is dropped."""


class Redeliveries:
    """Counts the deliveries of messages that are redelivered.

    A quorum queue says how often it has delivered a message before (``x-delivery-count``).  Other
    queues only say that they have.  Their messages are counted here by queue and message id, and
    the count ends with the process.
    """

    def __init__(self, kept: int = KEPT) -> None:
        self._kept = kept
        self._seen: OrderedDict[tuple[str, str], int] = OrderedDict()

    def __len__(self) -> int:
        return len(self._seen)

    def deliveries(
        self, queue: str, message_id: str | None, headers: Mapping[str, Any] | None
    ) -> int:
        """Count a delivery that is marked as redelivered; return at least how many there were.

        Call it once for each such delivery, and for no other: in a first delivery, the header can
        only be one that the publisher wrote.
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
