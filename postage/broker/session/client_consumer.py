"""A consumer of a channel: its limits, and the deliveries to it."""

from __future__ import annotations

import struct
from collections.abc import Callable

from postage.broker.core.costs import consumer_cost
from postage.broker.core.queue import BrokerQueue, QueuedMessage
from postage.broker.session.base_channel import BaseChannel, UnackedCount
from postage.broker.session.delivery_watch import DeliveryWatch
from postage.broker.wire.content import PublishedMessage
from postage.broker.wire.fields import short_string
from postage.broker.wire.framing import message_frames, method_start
from postage.broker.wire.methods import MethodCall
from postage.protocol import DELIVER

__all__ = ["ClientConsumer"]

MOST_STARTS = 8
"""Starts of frames that a consumer keeps."""
_TAG = struct.Struct(">QB")


class ClientConsumer:
    """A consumer of *channel*; *on_cancelled* is called when its queue has been deleted."""

    def __init__(
        self,
        channel: BaseChannel,
        tag: str,
        call: MethodCall,
        prefetch: int,
        on_cancelled: Callable[[ClientConsumer], None],
    ) -> None:
        self.channel, self.tag = channel, tag
        self.no_ack, self.exclusive = call.no_ack, call.exclusive
        self.priority = 0
        self.queue: BrokerQueue | None = None
        """The queue it consumes from; None for a consumer of direct replies."""
        self.count = UnackedCount(tag)
        self.watch: DeliveryWatch | None = None
        """Watches each delivery for `timeout` seconds, if deliveries may time out."""
        self.timeout = 0.0
        self._prefetch, self._on_cancelled = prefetch, on_cancelled
        self.cost = consumer_cost(tag)
        """Estimated bytes of memory."""
        self._starts: dict[int, bytes] = {}
        """The start of the method frame, by the length of the address at its end."""

    def is_ready(self) -> bool:
        """Tell whether the limits of consumer, channel and connection allow one more delivery."""
        channel = self.channel
        if channel.closing or channel.outlet.deliveries_paused:
            return False
        if self.no_ack:
            return True
        if self._prefetch and self.count.unacked >= self._prefetch:
            return False
        return not channel.prefetch or channel.out < channel.prefetch

    def deliver(self, queue: BrokerQueue, queued: QueuedMessage) -> bool:
        """Send basic.deliver with the message; return whether the broker waits for an ack."""
        channel, waits = self.channel, not self.no_ack
        channel.last_tag += 1
        if waits:
            queue.unacked += 1
            count = self.count
            count.unacked += 1
            channel.out += 1
            channel.unacked[channel.last_tag] = (queue, queued, count)
        header = queue.header_of(queued) if queue.counts_deliveries else queued.header.data
        self._send(queued, header)
        if self.watch is not None and waits:
            self.watch.add(channel.last_tag, self.timeout, (self.tag, self.count))
        return waits

    def deliver_reply(self, message: PublishedMessage) -> None:
        """Send a direct reply, which was in no queue."""
        self.channel.last_tag += 1
        queued = QueuedMessage(message.address, message.header, message.body)
        self._send(queued, message.header.data)

    def _send(self, queued: QueuedMessage, header: bytes) -> None:
        channel, address = self.channel, queued.address
        start = self._starts.get(len(address)) or self._new_start(len(address))
        method = (start, _TAG.pack(channel.last_tag, queued.deliveries > 1), address)
        outlet = channel.outlet
        frames = message_frames(channel.number, method, header, queued.body, outlet.frame_max)
        outlet.write(frames)

    def _new_start(self, length: int) -> bytes:
        payload = DELIVER + short_string(self.tag)
        size = len(payload) + _TAG.size + length
        start = method_start(self.channel.number, size) + payload
        if len(self._starts) >= MOST_STARTS:
            self._starts.clear()
        return self._starts.setdefault(length, start)

    def cancelled(self) -> None:
        """Tell the client that the queue has been deleted (RabbitMQ, consumer cancellation)."""
        self._on_cancelled(self)
