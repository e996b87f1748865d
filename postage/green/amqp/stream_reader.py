"""Where a consumer of a stream has arrived, so that its next consumer goes on there.

A stream keeps what was delivered, and an ack only asks for more.  After a lost connection the
broker would begin at the offset of the new consumer: with ``"first"``, all messages would come
again, and with ``"next"``, those published meanwhile would be lost.  So the reader notes the
offsets (header ``x-stream-offset``) of deliveries that are not settled.  The next consumer begins
at the lowest of them, and what was settled above it is acknowledged at once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from postage.errors import MalformedMessage
from postage.green.amqp.delivery import Delivery, DeliveryChannel
from postage.typed_queue import ConsumerOptions

__all__ = ["OFFSET", "StreamReader"]

OFFSET = "x-stream-offset"
"""The argument of a consumer, and the header of each delivery."""


class StreamReader:
    """The position of one component in one stream.

    `receive` runs in the hub; deliveries may be settled in any native thread.
    """

    def __init__(self) -> None:
        self._open: dict[int, None] = {}  # offsets that are not settled
        self._highest = -1

    @property
    def has_begun(self) -> bool:
        """Whether anything was delivered."""
        return self._highest >= 0

    def reset(self) -> None:
        """Begin anew, as the stream is another one."""
        self._open.clear()
        self._highest = -1

    def arguments(self, options: ConsumerOptions) -> dict[str, Any]:
        """Return the arguments for the next consumer, whose first one has *options*."""
        if not self.has_begun:
            return dict(options.arguments)
        return {**options.arguments, OFFSET: min([*self._open, self._highest + 1])}

    def receive(self, on_delivery: Callable[[Delivery], object], delivery: Delivery) -> None:
        """Note *delivery*, and pass it on unless it was settled before."""
        try:
            offset = (delivery.properties.headers or {}).get(OFFSET)
        except MalformedMessage:
            offset = None
        if isinstance(offset, int):
            if offset <= self._highest and offset not in self._open:
                delivery.ack()
                return
            self._open[offset] = None
            self._highest = max(self._highest, offset)
            delivery.channel = _StreamChannel(delivery.channel, self, offset)
        on_delivery(delivery)

    def settle(self, offset: int) -> None:
        """Note that the delivery with *offset* is settled."""
        self._open.pop(offset, None)


class _StreamChannel:
    """The channel of one delivery: settles it in the reader, too."""

    __slots__ = ("_channel", "_offset", "_reader")

    def __init__(self, channel: DeliveryChannel, reader: StreamReader, offset: int) -> None:
        self._channel, self._reader, self._offset = channel, reader, offset

    @property
    def alive(self) -> bool:
        """Whether the channel has not ended."""
        return self._channel.alive

    @property
    def withdrawn(self) -> bool:
        """Whether the broker has taken its deliveries back."""
        return self._channel.withdrawn

    def ack(self, tag: int) -> None:
        """Acknowledge the delivery."""
        self._reader.settle(self._offset)
        self._channel.ack(tag)

    def reject(self, tag: int, *, requeue: bool) -> None:
        """Settle the delivery; with *requeue*, the next consumer gets it again."""
        if not requeue:
            self._reader.settle(self._offset)
        self._channel.reject(tag, requeue=requeue)

    def give_back(self, tag: int) -> None:
        """Settle the delivery; the next consumer gets it again."""
        self._channel.give_back(tag)
