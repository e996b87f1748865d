"""Flows: who has sent a handler how many messages, and through which exchange.  Pure.

The memory of `FlowCounts` is bounded, whatever peers send: only the first `MOST_FLOWS` flows have
counts of their own.

To look at the sender of every message would cost a busy process two percent.  So only some messages
are looked at, and each of them stands for those before it.  While somebody watches, such as the
console (`watch`), every message is looked at, and the counts grow exactly.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from postage.fingerprint import NAMELESS

__all__ = [
    "LONGEST_NAME",
    "MOST_FLOWS",
    "Flow",
    "FlowCount",
    "FlowCounts",
    "flow_of",
    "is_watched",
    "watch",
]

MOST_FLOWS = 50
"""How many flows of a handler have counts of their own."""
LONGEST_NAME = 100
"""Characters of the longest name of a sender or exchange that is counted."""


class Flow(NamedTuple):
    """The messages of one sender to one handler through one exchange."""

    sender: str
    """The name in the fingerprint of the sender; ``pid@host`` if it has no name."""
    exchange: str
    """Where the messages were published; empty: the default exchange."""
    category: str
    """``rpc`` or ``message``."""


class FlowCount(NamedTuple):
    """A flow, and its counts."""

    sender: str
    exchange: str
    category: str
    messages: int
    """Messages that the handler has begun to handle; further tries are not counted."""
    failed: int
    """Messages for which it has raised an error, after all tries at once."""


def flow_of(body: Mapping[str, Any], exchange: str) -> Flow | None:
    """Return the flow of the message *body* from *exchange*; None if it has no sender to name."""
    fingerprint = body.get("fingerprint")
    if not isinstance(fingerprint, dict):
        return None
    sender = fingerprint.get("name")
    if sender in (None, NAMELESS):
        pid, host = fingerprint.get("pid"), fingerprint.get("host")
        sender = f"{pid}@{host}" if isinstance(pid, str) and isinstance(host, str) else None
    if not isinstance(sender, str) or not 0 < len(sender) <= LONGEST_NAME >= len(exchange):
        return None
    return Flow(sender, exchange, str(body.get("category")))


class FlowCounts:
    """Counts messages by their flows; for the thread of one hub."""

    __slots__ = ("_counts", "other_failed", "others")

    def __init__(self) -> None:
        self._counts: dict[Flow, list[int]] = {}
        self.others = self.other_failed = 0
        """Messages, and failures, of flows that have no counts of their own."""

    def add(self, flow: Flow | None, messages: int) -> None:
        """Count *messages* of *flow*; None: nobody knows whose."""
        counts = self._of(flow)
        if counts is None:
            self.others += messages
        else:
            counts[0] += messages

    def fail(self, flow: Flow | None) -> None:
        """Count a message of *flow* as failed."""
        counts = self._of(flow)
        if counts is None:
            self.other_failed += 1
        else:
            counts[1] += 1

    def _of(self, flow: Flow | None) -> list[int] | None:
        if flow is None:
            return None
        counts = self._counts.get(flow)
        if counts is None and len(self._counts) < MOST_FLOWS:
            counts = self._counts[flow] = [0, 0]
        return counts

    def __iter__(self) -> Iterator[FlowCount]:
        for flow, (messages, failed) in self._counts.items():
            yield FlowCount(*flow, messages, failed)


# --- somebody watches

_watched_until = 0.0


def watch(seconds: float) -> None:
    """Let all flows of this process be counted exactly for so many *seconds*."""
    global _watched_until  # noqa: PLW0603 - all handlers of the process are watched, or none
    _watched_until = max(_watched_until, time.monotonic() + seconds)


def is_watched() -> bool:
    """Tell whether somebody watches now."""
    return time.monotonic() < _watched_until
