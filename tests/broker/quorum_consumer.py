"""A client that takes the only message of a quorum queue again and again."""

from __future__ import annotations

from typing import Any

from postage.broker.core.clock import ManualTimers
from postage.broker.core.likeness import likeness_of
from postage.broker.core.queue import BrokerQueue
from postage.broker.session.node import Node
from postage.broker.wire.content import decode_properties
from tests.support.frame_client import FrameClient

QUORUM = {"x-queue-type": "quorum"}
MANY = 30
"""Deliveries after which a message is taken to come back for ever."""
Counts = tuple[int | None, int | None]
"""The headers x-delivery-count and x-acquired-count of a delivery."""


class Consumer:
    """A client with the quorum queue "q", which takes its only message again and again."""

    def __init__(self, like: str, **arguments: Any) -> None:
        self.node = Node(ManualTimers(), likeness=likeness_of(like))
        self.client = FrameClient(self.node).open(1)
        self.client.call("queue.declare", 1, queue="q", arguments={**QUORUM, **arguments})
        self.client.publish("q")
        self.tag = 0

    @property
    def queue(self) -> BrokerQueue:
        return self.node.vhosts["/"].queues["q"]

    def counts(self) -> Counts | None:
        """Return the counts of the next delivery; None if there is no message."""
        entry = self.queue._head()
        answer = self.client.call("basic.get", 1, queue="q")
        if answer.method.name == "basic.get_empty":
            return None
        assert entry is not None
        self.tag = answer.delivery_tag
        headers = decode_properties(self.queue.header_of(entry, is_got=True)).get("headers") or {}
        assert answer.redelivered is (entry.deliveries > 1)
        return headers.get("x-delivery-count"), headers.get("x-acquired-count")

    def give_back(self, how: str) -> None:
        """Return the message to its queue."""
        if how == "nack":
            self.client.send_method("basic.nack", 1, delivery_tag=self.tag, requeue=True)
        elif how == "reject":
            self.client.send_method("basic.reject", 1, delivery_tag=self.tag, requeue=True)
        elif how == "recover":
            self.client.call("basic.recover", 1, requeue=True)
        elif how == "channel":
            self.client.call("channel.close", 1)
            self.client.call("channel.open", 1)
        else:
            self.client.connection.abort()
            self.client = FrameClient(self.node).open(1)

    def deliveries(self, how: str) -> list[Counts]:
        """Return the counts of all deliveries, of `MANY` at most."""
        found = []
        while len(found) < MANY and (counts := self.counts()) is not None:
            found.append(counts)
            self.give_back(how)
        return found
