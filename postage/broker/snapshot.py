"""A frozen snapshot of a broker: its connections, queues and counters."""

from __future__ import annotations

from dataclasses import dataclass

from postage.broker.core.vhost import VHost
from postage.broker.session.client_connection import ClientConnection
from postage.broker.session.node import Node

__all__ = ["ClientStatistics", "QueueStatistics", "Rates", "Statistics", "snapshot"]


@dataclass(frozen=True, kw_only=True)
class ClientStatistics:
    """The statistics of one connection."""

    id: int
    """The number of the connection, counted from the start of the broker."""
    name: str
    """The name that the client has given itself (``connection_name``), or the empty string."""
    user: str
    """The user that has logged in; empty before the login."""
    vhost: str
    """The virtual host that the client has opened; empty before that."""
    state: str
    """Its stage: ``greeting``, ..., ``open``, ``closing``."""
    channels: int
    """Its open channels."""
    consumers: int
    """Its consumers, on all its channels."""
    unacked: int
    """Deliveries that the client has not acknowledged."""
    published: int
    """Messages that the client has published."""
    blocked: bool
    """True while the client must not publish, because of low memory or a test."""


@dataclass(frozen=True, kw_only=True)
class QueueStatistics:
    """The statistics of one queue."""

    vhost: str
    """Its virtual host."""
    name: str
    """Its name."""
    ready: int
    """Messages that wait for a consumer."""
    unacked: int
    """Messages delivered and not acknowledged."""
    consumers: int
    """Its consumers."""
    body_bytes: int
    """Total size of the bodies of the messages that wait."""


@dataclass(frozen=True, kw_only=True)
class Rates:
    """The messages per second between two snapshots."""

    published: float
    """Messages published."""
    delivered: float
    """Messages delivered, to consumers and by basic.get."""


@dataclass(frozen=True, kw_only=True)
class Statistics:
    """A broker at one moment; ``dataclasses.asdict`` converts it for JSON."""

    at: float
    """The moment: seconds on the broker's clock, which never goes back."""
    connections: tuple[ClientStatistics, ...]
    """All connections, the oldest first."""
    channels: int
    """The open channels of all connections."""
    queues: tuple[QueueStatistics, ...]
    """All queues of all virtual hosts, by name."""
    published: int
    """Messages published since the broker started."""
    delivered: int
    """Deliveries since the broker started, redeliveries included."""
    memory: int
    """Estimated bytes of messages in queues, unacknowledged, in transactions, incomplete or unsent.

    Publishers are blocked when this is over ``Limits.memory``.
    """
    held: int
    """The part of `memory` that connections hold outside queues: all but the first two."""
    definitions: int
    """Estimated bytes of queues, exchanges, bindings, consumers and channels without messages."""
    alarm: str | None
    """Why publishers are blocked, or None."""

    def since(self, earlier: Statistics) -> Rates:
        """Return the rates since an *earlier* snapshot of the same broker."""
        seconds = max(self.at - earlier.at, 1e-9)
        return Rates(
            published=(self.published - earlier.published) / seconds,
            delivered=(self.delivered - earlier.delivered) / seconds,
        )

    def queue(self, name: str, vhost: str = "/") -> QueueStatistics:
        """Return the statistics of one queue; raise KeyError if it does not exist."""
        for queue in self.queues:
            if (queue.name, queue.vhost) == (name, vhost):
                return queue
        raise KeyError(name)


def snapshot(node: Node) -> Statistics:
    """Return the statistics of *node* now."""
    connections = sorted(node.connections, key=lambda connection: connection.id)
    vhosts = sorted(node.vhosts.values(), key=lambda vhost: vhost.name)
    return Statistics(
        at=node.timers.now(),
        connections=tuple(_connection(connection) for connection in connections),
        channels=sum(len(connection.channels) for connection in connections),
        queues=tuple(queue for vhost in vhosts for queue in _queues(vhost)),
        published=node.published + sum(connection.publishes for connection in connections),
        delivered=node.delivered + sum(_deliveries(connection) for connection in connections),
        memory=node.memory,
        held=node.held,
        definitions=node.definitions,
        alarm=node.alarm,
    )


def _deliveries(connection: ClientConnection) -> int:
    running = (channel for channel in connection.channels.values() if not channel.closing)
    return connection.deliveries + sum(channel.last_tag for channel in running)


def _connection(connection: ClientConnection) -> ClientStatistics:
    channels = connection.channels.values()
    return ClientStatistics(
        id=connection.id,
        name=connection.name,
        user=connection.user,
        vhost=connection.vhost.name if connection.vhost is not None else "",
        state=connection.stage.name.lower(),
        channels=len(channels),
        consumers=sum(len(channel.consumers) for channel in channels),
        unacked=sum(len(channel.unacked) for channel in channels),
        published=connection.publishes,
        blocked=connection.blocked,
    )


def _queues(vhost: VHost) -> list[QueueStatistics]:
    return [
        QueueStatistics(
            vhost=vhost.name,
            name=name,
            ready=len(queue),
            unacked=queue.unacked,
            consumers=len(queue.consumers),
            body_bytes=queue.body_bytes,
        )
        for name, queue in sorted(vhost.queues.items())
    ]
