"""Poisonous messages: how often one was delivered without ever having been settled.  Pure."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

__all__ = ["Redeliveries"]

KEPT = 10_000
"""Of how many redelivered messages the count is kept; that of the one not seen for longest goes."""


class Redeliveries:
    """Counts the deliveries of messages that come again.

    A quorum queue says how often it has delivered a message (``x-delivery-count``).  Other queues
    say no more than that they did so before; what comes again is then counted here, by its queue
    and message id, and the count ends with the process.
    """

    def __init__(self, kept: int = KEPT) -> None:
        self._kept = kept
        self._seen: OrderedDict[tuple[str, str], int] = OrderedDict()

    def __len__(self) -> int:
        return len(self._seen)

    def deliveries(
        self, queue: str, message_id: str | None, headers: Mapping[str, Any] | None
    ) -> int:
        """Take note that a redelivered message comes; return how often it has come, at least.

        To be asked once for each delivery, and only for those that are marked as redelivered: in
        a first one the header can only be what a publisher wrote.
        """
        told = (headers or {}).get("x-delivery-count")
        if isinstance(told, int):
            return told + 1  # it counts those before this one
        if message_id is None:
            return 2
        before = self._seen.pop((queue, message_id), 1)
        self._seen[queue, message_id] = before + 1
        if len(self._seen) > self._kept:
            self._seen.popitem(last=False)
        return before + 1
