"""Pictures of connections and channels, taken at one moment.  Plain data: no gevent, no pika."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["ChannelStatistics", "ConnectionStatistics"]


@dataclass(frozen=True, kw_only=True)
class ChannelStatistics:
    """One channel, since it was opened."""

    number: int
    """Its number on the connection."""
    state: str
    """``open`` or ``ended``."""
    published: int
    """Messages written."""
    unconfirmed: int
    """Messages whose confirm is awaited."""
    delivered: int
    """Messages that came to consumers."""
    consumers: int
    """Consumers that the broker knows."""
    stale_acks: int
    """Acks and rejects that came when the channel had ended: those messages come again."""
    returned: int
    """Mandatory messages and calls that came back: they reached no queue."""


@dataclass(frozen=True, kw_only=True)
class ConnectionStatistics:
    """One of the two connections that all components of a hub share, over all its lives.

    What belongs to one life, from *host* on, is that of the present one: empty or 0 without one.
    """

    role: str
    """``publishing`` or ``consuming``."""
    vhost: str
    """The virtual host."""
    state: str
    """``idle`` (not used yet), ``opening``, ``open``, ``waiting`` (between two tries to connect),
    ``lost`` (and nobody has wanted it since) or ``closed``."""
    losses: int
    """How often it was lost, the connections that are made anew included."""
    waiting: int
    """Greenlets that wait for it to be there."""
    host: str = ""
    """The host it leads to."""
    port: int = 0
    """The port there."""
    blocked: str | None = None
    """Why the broker takes no publishes now (an alarm), or None."""
    bytes_unsent: int = 0
    """Bytes that wait to be sent."""
    bytes_sent: int = 0
    """Bytes sent and about to be."""
    bytes_received: int = 0
    """Bytes read."""
    channels: tuple[ChannelStatistics, ...] = ()
    """Its channels, by their numbers."""
