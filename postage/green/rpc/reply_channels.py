"""Channels for direct replies, each lent to one call at a time.

A reply queue of its own costs a call as much as the broker needs to write the queue to its metadata
store: 10 ms on RabbitMQ 4.3, where a consumer of direct replies costs 0.3 ms (measured on a busy
machine).  So a call that cannot use the shared reply queue borrows a channel, starts a consumer of
direct replies there, sends its request on the channel, and gives the channel back with its end.

A reply without an id can only belong to the call that has the channel.  The broker makes a new
reply key for each consumer, so servers that earlier calls on the channel have told the key can
neither answer late nor forge an answer (RabbitMQ, "Direct Reply-to").

Where a wrong reply key ends the connection of the server that answers (RabbitMQ before 4.2), each
server would need a third connection for such answers: there, calls have queues of their own.
"""

from __future__ import annotations

from collections.abc import Callable

from postage.errors import PostageError
from postage.green.amqp.channel import Channel
from postage.green.amqp.connection import Connection
from postage.green.amqp.delivery import Delivery
from postage.green.rpc.replies import DirectReplyQueue, ReplyQueue

__all__ = ["LentReplyQueue", "ReplyChannels"]

MOST_LENT = 64
"""Channels that are lent at a time; further calls have queues of their own."""
MOST_IDLE = 4
"""Channels that stay open for the next calls."""


class LentReplyQueue(DirectReplyQueue):
    """Direct replies on a channel that goes back to *give_back* at the end."""

    def __init__(
        self,
        channel: Channel,
        give_back: Callable[[Channel], None],
        on_reply: Callable[[Delivery], None],
        on_loss: Callable[[PostageError], None],
    ) -> None:
        self._give_back = give_back
        try:
            super().__init__(channel, on_reply, on_loss)
        except BaseException:
            channel.close_nowait()  # it may have the consumer, and another one would be refused
            raise

    def close(self) -> None:
        """End the consumer; never switches, and may be called twice."""
        ReplyQueue.close(self)  # and not the channel

    def _detach(self) -> None:
        super()._detach()
        self._give_back(self._channel)


class ReplyChannels:
    """The channels that the calls of one pair borrow.  For greenlets of its hub."""

    def __init__(self) -> None:
        self._idle: list[Channel] = []
        self._lent = 0

    def lend(
        self,
        connection: Connection,
        on_reply: Callable[[Delivery], None],
        on_loss: Callable[[PostageError], None],
    ) -> LentReplyQueue | None:
        """Return direct replies on a channel of *connection*; None if a queue must do.

        Switches, and raises what opening a channel and starting a consumer raise.
        """
        if self._lent == MOST_LENT or not connection.lends_reply_channels:
            return None
        self._lent += 1
        try:
            channel = self._take(connection)
        except BaseException:
            self._lent -= 1
            raise
        return LentReplyQueue(channel, self._give_back, on_reply, on_loss)

    def _take(self, connection: Connection) -> Channel:
        while self._idle:
            channel = self._idle.pop()
            if channel.alive and channel.transport is connection.transport:
                return channel
            channel.close_nowait()
        channel = connection.open_calling()
        channel.republish = None  # another channel would get no replies
        return channel

    def _give_back(self, channel: Channel) -> None:
        self._lent -= 1
        if len(self._idle) < MOST_IDLE:
            self._idle.append(channel)
        else:
            channel.close_nowait()
