"""The connections that all components of a hub share: one publishes, one consumes.

There are two because a broker with a memory alarm stops reading from connections that publish.  A
consumer on such a connection could not acknowledge, so its queue would stay full, and the alarm
would never end (RabbitMQ, memory alarms).
"""

from __future__ import annotations

import itertools
import secrets
import time
from collections.abc import Callable
from typing import Any

import gevent

from postage.errors import ConnectionFailed, ConnectionLost, OperationTimeout, PostageError
from postage.green.amqp.channel import Channel, OnReturn
from postage.green.amqp.connection import PUBLISHING, Connection
from postage.green.amqp.detours import Detours
from postage.green.amqp.hub_logging import HubLogger
from postage.green.amqp.properties import Properties
from postage.green.amqp.publish_record import OnFailure, PublishEntry
from postage.green.amqp.rebinding import Rebinding
from postage.green.amqp.reconnecting import Reconnecting
from postage.green.amqp.refusals import Refusals
from postage.log_records import counted
from postage.settings import Settings

__all__ = ["Pair"]

logger = HubLogger(__name__)


SETTLING = 1.0
"""Seconds after a reconnect in which a missing queue may be about to come back."""
PATIENCE = 5.0
"""Seconds for which publishes wait for a declaration in the background."""
FIRST_ANSWERING = 1.0
"""Seconds that the first direct reply waits for a connection of its own."""


def _random_ids() -> list[str]:
    """Return some ids of 128 random bits each: to read the random bits of many at once is cheap."""
    return secrets.token_bytes(64 * 16).hex(" ", 16).split()


class Pair:
    """The connections of one hub to one broker and virtual host.

    Each connection is made at its first use, and made again after a loss.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._refusals = Refusals()
        self.publishing = self._reconnecting(PUBLISHING)
        self.consuming = self._reconnecting("consuming")
        self.answering = self._reconnecting("answering")
        """Carries direct replies: a key that begins with `channel.DIRECT`, but is not genuine,
        makes some versions of RabbitMQ end the whole connection (541), and the key comes from the
        caller: see `Connection.survives_wrong_keys`."""
        self.rebinding = Rebinding(self.consuming)
        """Makes exchanges and bindings of consumers again that others delete."""
        self.on_return: list[OnReturn] = []
        """Called in the hub for each request that is returned because it reached no queue."""
        self._detours = Detours(
            self.publishing, self._make(PUBLISHING), self._on_leave, self._is_awaited
        )
        self.awaits: list[Callable[[Connection], bool]] = []
        """Tell whether replies are to come on a connection that publishes."""
        self.on_leave: list[Callable[[], None]] = []
        """Called when another publishing connection takes the place of one that stays open."""
        self.on_failure: list[OnFailure] = []
        """Called in the hub with the requests and replies that the broker has refused or lost."""
        self.lost_replies = 0
        """Replies that were returned, because their callers have ended."""
        self.declaring: dict[gevent.Greenlet[..., Any], float] = {}
        """Greenlets that declare in the background, and when they began; only publishes wait."""
        ids = itertools.chain.from_iterable(iter(_random_ids, None))
        self.new_id: Callable[[], str] = ids.__next__
        """Returns a message id that nobody can guess, at a tenth of the cost of a UUID.

        An id must tell nothing of others: a server knows that of its own call, and could forge the
        replies of other servers if it knew theirs."""

    def _make(self, role: str) -> Callable[[tuple[str, int]], Connection]:
        def make(address: tuple[str, int]) -> Connection:
            connection = Connection(
                self.settings, role, self._on_returned, address, self._refusals, self._on_failure
            )
            connection.on_missing = self.rebinding.restore
            connection.on_behind = self._on_behind
            connection.on_end.append(self._suspect)
            return connection

        return make

    def _reconnecting(self, role: str) -> Reconnecting:
        return Reconnecting(self.settings, role, self._make(role), lambda: self.was_connected)

    def _on_behind(self, connection: Connection, channel: Channel) -> None:
        self._detours.consider(connection, channel)

    def _on_leave(self, entries: list[PublishEntry]) -> None:
        for callback in self.on_leave:
            callback()
        # Not the requests: a server that has them would handle them twice.
        replies = [each for each in entries if each.properties.reply_to is None]
        self._on_failure(replies, ConnectionLost("the broker has stopped reading"))

    def _is_awaited(self, connection: Connection) -> bool:
        return any(awaits(connection) for awaits in self.awaits)

    def _suspect(self, _error: PostageError) -> None:
        """Check the other connection: what ended this one may have made that one half-open."""
        for connection in self.connections:
            connection.suspect()

    @property
    def was_connected(self) -> bool:
        """Whether the broker has ever accepted us."""
        return self.publishing.was_open or self.consuming.was_open

    def for_direct_replies(self) -> Connection:
        """Return the connection for direct replies; if there is none, wait, which switches."""
        publishing = self.publishing.get()
        if publishing.survives_wrong_keys:
            return publishing
        try:
            return self.answering.get(None if self.answering.was_open else FIRST_ANSWERING)
        except (ConnectionFailed, OperationTimeout):
            if self.answering.was_open:
                raise
            return publishing  # the broker allows us no third connection

    @property
    def has_settled(self) -> bool:
        """False just after a reconnect, when other programs may still be connecting, too."""
        return not self.publishing.losses or self.publishing.age > SETTLING

    @property
    def is_declaring(self) -> bool:
        """Whether a publish has to `wait_declared`."""
        return bool(self._declaring_lately())

    def _declaring_lately(self) -> list[gevent.Greenlet[..., Any]]:
        since = time.monotonic() - PATIENCE
        return [each for each, began in self.declaring.items() if began > since]

    def wait_declared(self, limit: float) -> None:
        """Wait for declarations in the background, at most *limit* seconds; switches.

        One that the broker has not answered for `PATIENCE` holds up no publish: its queue may be on
        a node that hangs.
        """
        gevent.joinall(self._declaring_lately(), timeout=min(limit, PATIENCE))

    def _on_returned(self, reason: str, properties: Properties) -> None:
        if properties.reply_to is None:
            self.lost_replies += 1
            logger.info("A reply was returned (%s): its caller has ended.", reason, extra=counted())
            return
        for callback in self.on_return:
            callback(reason, properties)

    def _on_failure(self, entries: list[PublishEntry], error: PostageError) -> None:
        for callback in self.on_failure:
            callback(entries, error)

    @property
    def connections(self) -> list[Connection]:
        """The open connections."""
        all_three = self.publishing, self.consuming, self.answering
        current = [connection for each in all_three if (connection := each.current) is not None]
        return [*current, *self._detours.left]

    def close(self, limit: float) -> None:
        """Close all connections for good, waiting at most *limit* seconds for each; switches."""
        for each in (self.publishing, self.consuming, self.answering):
            each.close(limit)
        for connection in [*self._detours.left]:  # closing one removes it
            connection.close(limit)

    def close_without_hub(self, deadline: float) -> None:
        """Close all connections for good until *deadline*, while the hub does not run."""
        for each in (self.publishing, self.consuming, self.answering):
            each.close_without_hub(max(0.0, deadline - time.monotonic()))
        for connection in self._detours.left:
            connection.close_without_hub(max(0.0, deadline - time.monotonic()))
