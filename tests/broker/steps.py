"""Steps of clients, which mean the same to any broker.

Names that begin with ``~`` are those of one example: a prefix replaces the ``~`` when the step is
carried out.  ``~s0`` and ``~s1`` stand for the names that the broker gives to server-named queues.
"""

from __future__ import annotations

from typing import Any, NamedTuple

QUEUES = ("~q0", "~q1", "~q2", "~q3")
SERVER_NAMED = ("~s0", "~s1")
EXCHANGES = ("~e0", "~e1", "~e2")
PREDECLARED = ("amq.direct", "amq.fanout", "amq.topic", "amq.headers", "amq.match")
TAGS = ("c0", "c1", "c2")
CHANNELS = ("A1", "A2", "B1")
YEAR = 31_536_000_000
"""Milliseconds: longer than any test."""


class Step(NamedTuple):
    """One step: a method, by its class and name in pika."""

    kind: str
    channel: str
    method: str
    fields: dict[str, Any]
    properties: dict[str, Any] | None = None
    body: bytes = b""
    pick: int = 0
    """Which of the unacknowledged deliveries is meant; -1: an unknown one."""

    def shown(self) -> str:
        """Return the step in one line."""
        content = f" {self.properties} {self.body!r}" if self.method == "Basic.Publish" else ""
        pick = f" of delivery {self.pick}" if "ack" in self.kind or self.kind == "reject" else ""
        return f"{self.channel} {self.method}{pick} {self.fields}{content}"


def closing(channel: str) -> Step:
    """Return the step in which a client closes *channel*."""
    fields = {"reply_code": 200, "reply_text": "", "class_id": 0, "method_id": 0}
    return Step("channel close", channel, "Channel.Close", fields)
