"""What components, connections and channels report about themselves, as frozen plain data."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = [
    "ChannelStatistics",
    "ConnectionStatistics",
    "ProcessorStatistics",
    "ProducerStatistics",
]


@dataclass(frozen=True, kw_only=True)
class ProducerStatistics:
    """One producer, since it was made; what it shares with others is in `green.statistics`."""

    name: str
    """The name in its fingerprint."""
    sent: int
    """Messages sent, one for each exchange and key; with ``confirm``, taken by the broker."""
    failed: int
    """Messages whose sending raised an error."""
    calling: int
    """Calls in flight."""
    succeeded: int
    """Calls that ended with a success."""
    erred: int
    """Calls whose handler answered with an error."""
    excepted: int
    """Calls that ended with an exception, the server's or one of ours, as ``TimeoutError``."""


@dataclass(frozen=True, kw_only=True)
class ProcessorStatistics:
    """One processor, since it was made."""

    name: str
    """The name in its fingerprint."""
    state: str
    """``idle``, ``consuming``, ``restoring`` (its consumers, after a loss) or ``draining``."""
    queues: tuple[str, ...]
    """The queues that it listens to."""
    busy: int
    """Messages that are being handled."""
    waiting: int
    """Messages that are here and wait for their turn."""
    handled: int
    """Messages for which there was a handler."""
    unhandled: int
    """Messages for which there was none."""
    failed: int
    """Messages with a handler that raised an error: rejected."""
    malformed: int
    """Bodies that were no message: rejected."""
    filtered: int
    """Messages that a filter kept from a handler."""
    expired: int
    """Requests that nobody awaited any more when their turn came: dropped."""
    poisonous: int
    """Messages that came more than ``max_deliveries`` times: rejected."""
    stale: int
    """Messages whose channel was gone when their turn came: the broker delivers them again."""
    lost_replies: int
    """Replies that could not be sent."""
    restored: int
    """How often it has consumed again after a loss."""
    jobs: int
    """Turns of its periodic jobs."""
    failed_jobs: int
    """Those that raised an error."""
    restarts: int
    """How often its scheduler has started it again."""


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
