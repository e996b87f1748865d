"""What a channel, its consumers and its publisher share: counters, and the way to the client."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from postage.broker.core.queue import BrokerQueue, QueuedMessage
from postage.broker.core.vhost import VHost
from postage.broker.session.transaction import Transaction
from postage.broker.wire.framing import message_frames, method_start
from postage.broker.wire.methods import encode

__all__ = ["ChannelState", "Outlet", "Unacked"]


class Outlet(Protocol):
    """A connection as its channels see it."""

    id: int
    user: str
    frame_max: int
    deliveries_paused: bool
    """Whether so much is unsent that consumers take no more messages."""
    deliveries: int
    """Messages delivered on channels that have been closed."""

    def write(self, data: bytes) -> None:
        """Send *data*."""

    def capability(self, name: str) -> bool:
        """Tell whether the client supports *name*."""

    def confirm_later(self, flush: Callable[[], None]) -> None:
        """Call *flush* when the present input has been handled."""


class CountsUnacked(Protocol):
    """A consumer with a prefetch limit of its own."""

    unacked: int


Unacked = tuple[BrokerQueue, QueuedMessage, "CountsUnacked | None"]
"""A delivery without an ack so far: its queue, the message, and the consumer (None: basic.get)."""


class ChannelState:
    """The state of one channel on the connection *outlet*."""

    def __init__(self, outlet: Outlet, number: int, vhost: VHost) -> None:
        self.outlet, self.number, self.vhost = outlet, number, vhost
        self.closing = False
        """True from the broker's channel.close to the client's close-ok: all else is ignored."""
        self.unacked: dict[int, Unacked] = {}
        """Deliveries without an ack, by tag, in the order of the tags."""
        self.last_tag = 0
        """The tag of the last delivery, which is also the number of deliveries."""
        self.out = 0
        """Unacknowledged deliveries to consumers; those of basic.get count for no limit."""
        self.prefetch = 0
        """The limit of `out` for all consumers together; 0: none."""
        self.transaction: Transaction[Unacked] | None = None
        self.reply_key: str | None = None
        """The routing key of direct replies to this channel, if it has a consumer of them."""

    def send(self, name: str, **arguments: Any) -> None:
        """Send a method."""
        self.outlet.write(encode(self.number, name, **arguments))

    def send_message(self, method: bytes, header: bytes, body: bytes) -> None:
        """Send a method that carries a message, in one piece."""
        start = method_start(self.number, len(method))
        frame_max = self.outlet.frame_max
        self.outlet.write(message_frames(self.number, (start, method), header, body, frame_max))
