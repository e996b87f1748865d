"""A message as it came from a queue."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from postage.green.amqp.frames import Deliver, Properties

if TYPE_CHECKING:
    from postage.green.amqp.channel import Channel

__all__ = ["Delivery"]


class Delivery:
    """One delivery (AMQP basic.deliver with its content); what classic Postage calls *method*.

    It knows the channel that it came on, so that it is settled there or nowhere.
    """

    __slots__ = (
        "body",
        "channel",
        "consumer_tag",
        "delivery_tag",
        "exchange",
        "properties",
        "received",
        "redelivered",
        "routing_key",
    )

    def __init__(
        self, channel: Channel, deliver: Deliver, properties: Properties, body: bytes
    ) -> None:
        self.channel = channel
        (
            self.consumer_tag,
            self.delivery_tag,
            self.redelivered,
            self.exchange,
            self.routing_key,
        ) = deliver
        self.properties = properties
        self.received = time.monotonic()
        """When it came, by `time.monotonic`."""
        self.body = body

    def ack(self) -> None:
        """Tell the broker that the message is done.  Never switches; stale acks are counted."""
        self.channel.ack(self.delivery_tag)

    def reject(self, *, requeue: bool) -> None:
        """Give the message back to its queue, or to the dead letters.  Never switches."""
        self.channel.reject(self.delivery_tag, requeue=requeue)

    def __repr__(self) -> str:
        return (
            f"<Delivery {self.delivery_tag} of {self.exchange!r} {self.routing_key!r}, "
            f"{len(self.body)} bytes>"
        )
