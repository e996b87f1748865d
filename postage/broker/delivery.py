"""Deliveries: a consumer of a channel, and what it has been given and has not settled."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from postage.broker.content import Message
from postage.broker.fields import short_string
from postage.broker.methods import Call
from postage.broker.queue import Entry, Queue

if TYPE_CHECKING:
    from postage.broker.channel import Channel

__all__ = ["Consumer", "Unacked"]

_IDS = struct.Struct(">HH")
_TAG = struct.Struct(">QB")


class Consumer:
    """A consumer of a channel."""

    def __init__(self, channel: Channel, tag: str, call: Call, prefetch: int) -> None:
        self.channel, self.tag = channel, tag
        self.no_ack, self.exclusive = call.no_ack, call.exclusive
        self.priority = 0
        self.queue: Queue | None = None
        self.unacked = 0
        self._prefetch = prefetch
        self._head = short_string(tag)

    def is_ready(self) -> bool:
        """Whether the limits of consumer, channel and connection let it take one more."""
        if self.no_ack:
            return self.channel.takes_data
        within = not self._prefetch or self.unacked < self._prefetch
        return within and self.channel.takes_data and self.channel.has_room

    def deliver(self, queue: Queue, entry: Entry) -> None:
        """Write basic.deliver with the message; see `Channel.hold`."""
        entry.deliveries += 1
        tag = self.channel.next_tag()
        if not self.no_ack:
            self.unacked += 1
            self.channel.hold(tag, queue, entry, self)
        count = entry.deliveries if queue.counts else None
        self.channel.write_content(self._payload(tag, entry), entry.message, count)

    def deliver_reply(self, message: Message) -> None:
        """Write a direct reply, which was in no queue."""
        entry = Entry(message, 0, 0, None)
        payload = self._payload(self.channel.next_tag(), entry)
        self.channel.write_content(payload, message)

    def _payload(self, tag: int, entry: Entry) -> bytes:
        return b"".join(
            (
                _IDS.pack(60, 60),
                self._head,
                _TAG.pack(tag, entry.redelivered),
                short_string(entry.message.exchange),
                short_string(entry.message.key),
            )
        )

    def cancelled(self) -> None:
        """Tell the client that the queue is gone (RabbitMQ, consumer cancellation)."""
        self.channel.consumer_cancelled(self)


class Unacked:
    """A delivery that the client has not settled."""

    __slots__ = ("consumer", "entry", "queue")

    def __init__(self, queue: Queue, entry: Entry, consumer: Consumer | None) -> None:
        self.queue, self.entry, self.consumer = queue, entry, consumer
