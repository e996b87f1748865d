"""The broker without its sockets: users, virtual hosts, connections, memory."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping

from postage.broker.core.clock import Timers
from postage.broker.core.likeness import Likeness, likeness_of
from postage.broker.core.limits import Limits
from postage.broker.core.vhost import VHost
from postage.broker.session.client_connection import ClientConnection
from postage.broker.session.logins import Logins, Strangers, source_of
from postage.broker.wire.exceptions import ChannelFault
from postage.log_records import counted, logger_of

__all__ = ["Node"]

logger = logger_of(__name__)

UNBLOCK_AT = 0.8
"""The part of the memory limit below which blocked publishers may go on."""

MOST_LAST_WORDS = 1 << 12
"""Unread bytes of a connection that holds too much, beyond which it is not told why it ends."""

LEAST_STRANGERS = 16
"""Connections in their handshake that even a broker for few connections accepts."""


class Node:
    """The state that the connections of one broker share.  No I/O, and no clock of its own."""

    def __init__(  # noqa: PLR0913 - the settings of a broker
        self,
        timers: Timers,
        limits: Limits | None = None,
        users: Mapping[str, str] | None = None,
        vhosts: tuple[str, ...] = ("/",),
        *,
        likeness: Likeness | None = None,
        create_missing: bool = False,
    ) -> None:
        self.timers, self.likeness = timers, likeness or likeness_of()
        self._create_missing = create_missing
        self.limits = limits or Limits()
        self.logins = Logins(users or {"guest": "guest"}, timers)
        self.most_open = self.limits.connections
        """How many connections may be open at a time."""
        self.strangers: Strangers[ClientConnection] = Strangers(
            max(LEAST_STRANGERS, self.limits.connections)
        )
        """The connections that have not been opened yet."""
        self.vhosts: dict[str, VHost] = {}
        self.connections: set[ClientConnection] = set()
        self.memory = 0
        """Estimated bytes of messages in queues, unacknowledged, in transactions, and `held`."""
        self.held = 0
        """The part of `memory` that connections hold outside queues; see `hold`."""
        self.holders: set[ClientConnection] = set()
        """The connections that hold any of it; some may have ended, but not sent their output."""
        self.definitions = 0
        """Estimated bytes of queues, exchanges, bindings, consumers and channels."""
        self._relief_due = False
        self.alarm: str | None = None
        """Why publishers are blocked, or None."""
        self.alarm_held = False
        """True while a test holds the alarm, whatever the memory says."""
        self.published = self.delivered = 0
        """Messages of the connections that have ended."""
        self.on_connection: Callable[[ClientConnection], object] | None = None
        """Called with each new connection; see `postage.broker.faults`."""
        self._ids = itertools.count(1)
        for name in vhosts:
            self.add_vhost(name)

    def __repr__(self) -> str:
        return f"<Node: {len(self.connections)} connections, {len(self.vhosts)} virtual hosts>"

    def add_vhost(self, name: str) -> VHost:
        """Return the virtual host *name*; create it if it does not exist."""
        if name not in self.vhosts:
            self.vhosts[name] = VHost(
                name,
                self.limits,
                self.timers,
                self.account,
                define=self.define,
                likeness=self.likeness,
                create_missing=self._create_missing,
            )
        return self.vhosts[name]

    def remove_vhost(self, name: str) -> None:
        """Delete a virtual host and close the connections to it; no error if it does not exist."""
        vhost = self.vhosts.pop(name, None)
        if vhost is None:
            return
        for connection in [each for each in self.connections if each.vhost is vhost]:
            connection.stop(320, f"vhost '{name}' is down")
        vhost.close()

    def open_connection(
        self,
        on_output: Callable[[], None],
        *,
        address: str = "127.0.0.1",
        loopback: bool = True,
    ) -> ClientConnection:
        """Return a new connection; see `ClientConnection` for *on_output*."""
        source = source_of(address)
        connection = ClientConnection(
            self, next(self._ids), on_output, source=source, loopback=loopback
        )
        self.connections.add(connection)
        self.strangers.add(connection, source)
        while (oldest := self.strangers.surplus()) is not None:
            text = "More than %d connections have not logged in: the oldest one of %s is ended."
            logger.warning(text, self.strangers.most, oldest.source, extra=counted())
            oldest.abort()
        if self.on_connection is not None:
            self.on_connection(connection)
        return connection

    def remove(self, connection: ClientConnection) -> None:
        """Remove *connection*, which has ended."""
        if connection in self.connections:
            self.connections.remove(connection)
            self.opened(connection)
            self.published += connection.publishes
            self.delivered += connection.deliveries

    def opened(self, connection: ClientConnection) -> None:
        """Note that *connection* has been opened, or has ended before that."""
        self.strangers.discard(connection, connection.source)

    @property
    def is_crowded(self) -> bool:
        """Whether as many connections are open as may be."""
        return len(self.connections) - len(self.strangers) >= self.most_open

    # --- memory

    def account(self, change: int) -> None:
        """Add *change* bytes to the memory of messages; block or unblock publishers."""
        self.memory += change
        if self.alarm_held:
            return
        if self.alarm is None and self.memory > self.limits.memory:
            self.set_alarm("low on memory")
        elif self.alarm is not None and self.memory <= UNBLOCK_AT * self.limits.memory:
            self.set_alarm(None)

    def define(self, change: int) -> None:
        """Add *change* bytes of definitions; raise 406 if they would be beyond the limit."""
        limit = self.limits.most_definitions
        if change > 0 and self.definitions + change > limit:
            text = f"the limit of {limit} bytes of names, arguments and bindings is reached"
            raise ChannelFault(406, text)
        self.definitions += change

    def hold(self, connection: ClientConnection, change: int) -> None:
        """Add *change* bytes that *connection* holds; it has counted them itself already.

        Beyond the limit, the connections that hold most are ended soon: not now, because the caller
        may be serving one of them.
        """
        if connection.held:
            self.holders.add(connection)
        else:
            self.holders.discard(connection)
        self.held += change
        self.account(change)
        if self.held > self.limits.most_held and not self._relief_due:
            self._relief_due = True
            self.timers.later(0, self._relieve)

    def _relieve(self) -> None:
        """End the connections that hold most until all hold little enough.

        An ended one may still hold something: what its last method makes the broker do later.
        """
        self._relief_due = False
        for last_words in (MOST_LAST_WORDS, 0):
            for each in sorted(self.holders, key=lambda each: (-each.greed, -each.held)):
                if self.held <= self.limits.most_held:
                    return
                if not each.is_closed:
                    sort = counted()
                    logger.warning("%r is ended: it holds %d bytes.", each, each.held, extra=sort)
                text = f"it holds {each.held} bytes of unfinished or unread messages"
                each.stop(506, text)
                if each.is_closed or each.held > last_words:
                    each.abort()

    def set_alarm(self, reason: str | None) -> None:
        """Block the connections that publish, for *reason*; None unblocks them."""
        if self.alarm == reason:
            return
        self.alarm = reason
        state = f"blocked: {reason}" if reason else "unblocked"
        logger.warning("Publishers are %s.", state, extra=counted(reason is None))
        for connection in list(self.connections):
            if self.alarm != reason:
                return  # the output of this has changed the alarm, and all have been told
            if connection.publishes:
                connection.block(reason)
