"""The broker without its sockets: users, virtual hosts, connections, memory."""

from __future__ import annotations

import hmac
import itertools
from collections.abc import Callable, Mapping

from postage.broker.core.clock import Timers
from postage.broker.core.limits import Limits
from postage.broker.core.vhost import VHost
from postage.broker.session.client_connection import ClientConnection
from postage.log_records import counted, logger_of

__all__ = ["Node"]

logger = logger_of(__name__)

UNBLOCK_AT = 0.8
"""The part of the memory limit below which blocked publishers may go on."""


class Node:
    """The state that the connections of one broker share.  No I/O, and no clock of its own."""

    def __init__(
        self,
        timers: Timers,
        limits: Limits | None = None,
        users: Mapping[str, str] | None = None,
        vhosts: tuple[str, ...] = ("/",),
        *,
        create_missing: bool = False,
    ) -> None:
        self.timers = timers
        self._create_missing = create_missing
        self.limits = limits or Limits()
        self._users = dict(users or {"guest": "guest"})
        self.vhosts: dict[str, VHost] = {}
        self.connections: set[ClientConnection] = set()
        self.memory = 0
        """Estimated bytes of messages in queues, unacknowledged, incomplete or unsent."""
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
        for queue in list(vhost.queues.values()):
            queue.close()

    def open_connection(
        self, on_output: Callable[[], None], *, loopback: bool = True
    ) -> ClientConnection:
        """Return a new connection; see `ClientConnection` for *on_output*."""
        connection = ClientConnection(self, next(self._ids), on_output, loopback=loopback)
        self.connections.add(connection)
        if self.on_connection is not None:
            self.on_connection(connection)
        return connection

    def remove(self, connection: ClientConnection) -> None:
        """Remove *connection*, which has ended."""
        if connection in self.connections:
            self.connections.remove(connection)
            self.published += connection.publishes
            self.delivered += connection.deliveries

    @property
    def is_crowded(self) -> bool:
        """Whether there are more connections than the limit."""
        return len(self.connections) > self.limits.connections

    def admits(self, user: str, password: str, *, loopback: bool) -> bool:
        """Tell whether *password* is right; guest may log in from this machine only."""
        if user not in self._users or (user == "guest" and not loopback):
            return False
        secrets = (each.encode("utf-8", "surrogatepass") for each in (self._users[user], password))
        return hmac.compare_digest(*secrets)  # in a time that tells nothing about the password

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

    def set_alarm(self, reason: str | None) -> None:
        """Block the connections that publish, for *reason*; None unblocks them."""
        if self.alarm == reason:
            return
        self.alarm = reason
        state = f"blocked: {reason}" if reason else "unblocked"
        logger.warning("Publishers are %s.", state, extra=counted(reason is None))
        for connection in list(self.connections):
            if connection.publishes:
                connection.block(reason)
