"""Channels for direct replies, each lent to one call at a time.

A reply queue of its own costs a call as much as the broker needs to write the queue to its metadata
store: 13 ms on RabbitMQ 4.3, where a consumer of direct replies costs 0.3 ms (measured on a busy
machine).  So a call that cannot use the shared reply queue borrows a channel, starts a consumer of
direct replies there, sends its request on the channel, and gives the channel back with its end.

A reply without an id can only belong to the call that has the channel.  The broker makes a new
reply key for each consumer, so servers that earlier calls on the channel have told the key can
neither answer late nor forge an answer (RabbitMQ, "Direct Reply-to").

Where a wrong reply key ends the connection of the server that answers (3.10.8 and 4.0.5), each
server would need a third connection for such answers: there, calls have queues of their own.
"""

from __future__ import annotations

from postage.green.amqp.channel import Channel
from postage.green.amqp.connection import Connection

__all__ = ["ReplyChannels"]

MOST_LENT = 64
"""Channels that are lent at a time; further calls have queues of their own."""
MOST_IDLE = 4
"""Channels that stay open for the next calls."""


class ReplyChannels:
    """The channels that the calls of one pair borrow.  For greenlets of its hub."""

    def __init__(self) -> None:
        self._idle: list[Channel] = []
        self._lent = 0

    def lend(self, connection: Connection) -> Channel | None:
        """Return a channel of *connection* for one call; None if a queue must do.

        Switches if a new one must be opened, and raises what that raises.
        """
        if self._lent == MOST_LENT or not connection.lends_reply_channels:
            return None
        self._lent += 1
        try:
            return self._take(connection)
        except BaseException:
            self._lent -= 1
            raise

    def give_back(self, channel: Channel) -> None:
        """Keep *channel*, whose consumer was cancelled, for another call; never switches."""
        self._lent -= 1
        if channel.alive and len(self._idle) < MOST_IDLE:
            self._idle.append(channel)
        else:
            channel.close_nowait()

    def _take(self, connection: Connection) -> Channel:
        idle, self._idle = self._idle, []
        for channel in idle:
            if channel.alive and channel.transport is connection.transport:
                self._idle.append(channel)
            else:
                channel.close_nowait()
        for channel in self._idle:
            if not channel.is_cancelling:  # a new consumer would wait for the end of the last one
                self._idle.remove(channel)
                return channel
        channel = connection.open_calling()
        channel.republish = None  # another channel would get no replies
        return channel
