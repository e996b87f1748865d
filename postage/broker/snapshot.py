"""What goes on inside a broker, as one frozen picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from postage.broker.core.vhost import VHost
    from postage.broker.session.client_connection import ClientConnection
    from postage.broker.session.node import Node

__all__ = ["ClientStatistics", "QueueStatistics", "Rates", "Statistics", "take"]


@dataclass(frozen=True, kw_only=True)
class ClientStatistics:
    """One connection."""

    id: int
    """Counts up from 1 with every connection that the broker ever had."""
    name: str
    """What the client calls itself (``connection_name``), or the empty string."""
    user: str
    """Who has logged in; empty before that."""
    vhost: str
    """The virtual host it has opened; empty before that."""
    state: str
    """How far it has come: ``greeting``, ..., ``open``, ``closing``."""
    channels: int
    """Its open channels."""
    consumers: int
    """Its consumers, on all its channels."""
    unacked: int
    """Deliveries that it has not settled."""
    published: int
    """Messages that it has published."""
    blocked: bool
    """True while it must not publish: the broker is low on memory, or was told to say so."""


@dataclass(frozen=True, kw_only=True)
class QueueStatistics:
    """One queue."""

    vhost: str
    """The virtual host it is in."""
    name: str
    """Its name."""
    ready: int
    """Messages that wait for a consumer."""
    unacked: int
    """Messages that are out with one, unsettled."""
    consumers: int
    """Who takes messages from it."""
    body_bytes: int
    """Bytes in the bodies of the messages that wait."""


@dataclass(frozen=True, kw_only=True)
class Rates:
    """What went on between two pictures, per second."""

    published: float
    """Messages that came in."""
    delivered: float
    """Messages that went out, to consumers and to those who ask for one."""


@dataclass(frozen=True, kw_only=True)
class Statistics:
    """A broker at one moment; ``dataclasses.asdict`` makes it fit for JSON."""

    at: float
    """When: seconds on the broker's clock, which never goes back."""
    connections: tuple[ClientStatistics, ...]
    """All connections, the oldest first."""
    channels: int
    """The open channels of all connections."""
    queues: tuple[QueueStatistics, ...]
    """All queues of all virtual hosts, by name."""
    published: int
    """Messages that came in since the broker started."""
    delivered: int
    """Messages that went out since then, each time one did."""
    memory: int
    """Bytes of the messages that wait in queues, about."""
    alarm: str | None
    """Why publishers are blocked, or None."""

    def since(self, earlier: Statistics) -> Rates:
        """Return the rates since an *earlier* picture of the same broker."""
        seconds = max(self.at - earlier.at, 1e-9)
        return Rates(
            published=(self.published - earlier.published) / seconds,
            delivered=(self.delivered - earlier.delivered) / seconds,
        )

    def queue(self, name: str, vhost: str = "/") -> QueueStatistics:
        """Return the picture of one queue; raises KeyError where there is none."""
        for queue in self.queues:
            if (queue.name, queue.vhost) == (name, vhost):
                return queue
        raise KeyError(name)


def take(node: Node) -> Statistics:
    """Return the picture of *node* now."""
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
        alarm=node.alarm,
    )


def _deliveries(connection: ClientConnection) -> int:
    running = (channel for channel in connection.channels.values() if not channel.closing)
    return connection.deliveries + sum(channel.last_tag for channel in running)


def _connection(connection: ClientConnection) -> ClientStatistics:
    channels = connection.channels.values()
    vhost: VHost | None = getattr(connection, "vhost", None)
    return ClientStatistics(
        id=connection.id,
        name=connection.name,
        user=connection.user,
        vhost=vhost.name if vhost is not None else "",
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
