"""Deliveries: a consumer of a channel, and what it has been given and has not settled."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from postage.broker.core.queue import BrokerQueue, QueuedMessage
from postage.broker.wire.content import ContentProperties, PublishedMessage
from postage.broker.wire.fields import short_string
from postage.broker.wire.framing import message_frames, method_start
from postage.broker.wire.methods import MethodCall

if TYPE_CHECKING:
    from postage.broker.session.client_channel import ClientChannel

__all__ = ["ClientConsumer", "Unacked", "counted_header"]

_IDS = struct.pack(">HH", 60, 60)
_TAG = struct.Struct(">QB")


class ClientConsumer:
    """A consumer of a channel."""

    def __init__(self, channel: ClientChannel, tag: str, call: MethodCall, prefetch: int) -> None:
        self.channel, self.tag = channel, tag
        self.no_ack, self.exclusive = call.no_ack, call.exclusive
        self.priority = 0
        self.queue: BrokerQueue | None = None
        self.unacked = 0
        self._prefetch = prefetch
        self._starts: dict[int, bytes] = {}
        """How the method frame begins, by the length of the address that it is to end with."""

    def is_ready(self) -> bool:
        """Whether the limits of consumer, channel and connection let it take one more."""
        channel = self.channel
        if channel.closing or channel.connection.paused:
            return False
        if self.no_ack:
            return True
        within = not self._prefetch or self.unacked < self._prefetch
        return within and (not channel.prefetch or channel.out < channel.prefetch)

    def deliver(self, queue: BrokerQueue, entry: QueuedMessage) -> bool:
        """Write basic.deliver with the message; return whether it is kept until it is settled."""
        channel, keeps = self.channel, not self.no_ack
        channel.last_tag += 1
        if keeps:
            queue.unacked += 1
            self.unacked += 1
            channel.out += 1
            channel.unacked[channel.last_tag] = (queue, entry, self)
        self._write(entry, counted_header(entry) if queue.counts else entry.header)
        return keeps

    def deliver_reply(self, message: PublishedMessage) -> None:
        """Write a direct reply, which was in no queue."""
        self.channel.last_tag += 1
        self._write(QueuedMessage(message.address, message.header, message.body), message.header)

    def _write(self, entry: QueuedMessage, header: bytes) -> None:
        channel, address = self.channel, entry.address
        start = self._starts.get(len(address)) or self._new_start(len(address))
        method = (start, _TAG.pack(channel.last_tag, entry.deliveries > 1), address)
        connection = channel.connection
        connection.write(
            message_frames(channel.number, method, header, entry.body, connection.frame_max)
        )

    def _new_start(self, length: int) -> bytes:
        payload = _IDS + short_string(self.tag)
        size = len(payload) + _TAG.size + length
        start = method_start(self.channel.number, size) + payload
        return self._starts.setdefault(length, start)

    def cancelled(self) -> None:
        """Tell the client that the queue is gone (RabbitMQ, consumer cancellation)."""
        self.channel.consumer_cancelled(self)


Unacked = tuple[BrokerQueue, QueuedMessage, "ClientConsumer | None"]
"""A delivery that the client has not settled; without a consumer it has asked for it."""


def counted_header(entry: QueuedMessage) -> bytes:
    """Return the header with the delivery count that quorum queues add to a redelivery."""
    if entry.deliveries <= 1:
        return entry.header
    message = entry.message
    headers = {**message.headers, "x-delivery-count": entry.deliveries - 1}
    return ContentProperties({**message.properties.values, "headers": headers}).encode()
