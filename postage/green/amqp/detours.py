"""Leaves a publishing connection that the broker has stopped reading, for another one.

How it works
------------
In a cluster of RabbitMQ, one node that hangs stops others: a connection that has published a few
hundred messages to a queue on that node is no longer read (credit flow), until the cluster gives
the node up after a minute.  All replies of a server wait behind those to one bad node.

A channel notices when its barrier is not answered (`publish_record`).  Then another connection is
opened, and used if the barrier is still unanswered by that time: where the whole network is slow,
the barrier wins.  The old connection stays open until the broker has caught up, because publishes
on it wait for their confirms, and streams and replies may come on it (`Retirable`).  Replies that
it may not have read are sent again.
"""

from __future__ import annotations

from collections.abc import Callable

import gevent

from postage.errors import PostageError
from postage.green.amqp.channel import Channel
from postage.green.amqp.connection import Connection
from postage.green.amqp.hub_logging import HubLogger
from postage.green.amqp.publish_record import PublishEntry
from postage.green.amqp.reconnecting import Reconnecting

__all__ = ["Detours"]

logger = HubLogger(__name__)

MOST_LEFT = 8
"""Connections that may be left and not yet closed.  A connection that answers nothing at all is
given up after some seconds."""
CHECK_INTERVAL = 1.0
"""Seconds between two checks whether the broker has caught up with a connection that was left."""
CLOSE_LIMIT = 1.0


class Detours:
    """The connections that *publishing* has left.

    *make* opens a connection to an address.  *on_leave* is called with the publishes that the
    broker may not have handled.  *is_awaited* tells whether replies are to come on a connection.
    """

    def __init__(
        self,
        publishing: Reconnecting,
        make: Callable[[tuple[str, int]], Connection],
        on_leave: Callable[[list[PublishEntry]], None],
        is_awaited: Callable[[Connection], bool],
    ) -> None:
        self._publishing, self._make, self._on_leave = publishing, make, on_leave
        self._is_awaited = is_awaited
        self.left: list[Connection] = []
        """Connections that were left and are still open."""
        self._is_leaving = False

    def consider(self, connection: Connection, channel: Channel) -> None:
        """Leave *connection* if the broker stays behind on *channel*; never switches."""
        is_current = connection is self._publishing.current
        if is_current and not self._is_leaving and len(self.left) < MOST_LEFT:
            self._is_leaving = True
            gevent.spawn(self._leave, connection, channel)

    def _leave(self, connection: Connection, channel: Channel) -> None:
        before = channel.answers
        try:
            other = self._make((connection.host, connection.port))
        except PostageError as exc:
            logger.debug("%r is behind, but there is no other one: %s", connection, exc)
            return
        finally:
            self._is_leaving = False
        has_answered = channel.answers > before or not channel.is_behind
        if has_answered or not self._publishing.supersede(connection, other):
            other.close(CLOSE_LIMIT)
            return
        logger.warning("%r is not read; another connection takes its place.", connection)
        self.left.append(connection)
        connection.retire()
        self._on_leave(channel.take_unhandled())
        while connection.alive and (connection.has_work or self._is_awaited(connection)):
            gevent.sleep(CHECK_INTERVAL)
        connection.close(CLOSE_LIMIT)
        self.left.remove(connection)
