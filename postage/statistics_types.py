"""Statistics of components, connections and channels, as frozen dataclasses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from postage.message import ERROR, EXCEPTION, SUCCESS

__all__ = [
    "ChannelStatistics",
    "ConnectionStatistics",
    "ProcessorStatistics",
    "ProducerStatistics",
]


@dataclass(frozen=True, kw_only=True)
class ProducerStatistics:
    """One producer, since it was made.

    Its connections and channels, which it shares, are in ``postage.statistics()``.
    """

    name: str
    """The name in its fingerprint."""
    sent: int
    """Messages sent, one for each exchange and key; with ``confirm``, confirmed by the broker."""
    failed: int
    """Messages whose sending raised an error."""
    calling: int
    """Calls in flight."""
    succeeded: int
    """Calls that ended with a success."""
    erred: int
    """Calls whose handler replied with an error."""
    excepted: int
    """Calls that ended with an exception, of the server or of Postage, such as ``TimeoutError``."""

    @classmethod
    def of(cls, name: str, counts: Mapping[str, int]) -> ProducerStatistics:
        """Return the statistics of the producer *name* with these *counts*."""
        return cls(
            name=name,
            sent=counts["sent"],
            failed=counts["failed"],
            calling=counts["calling"],
            succeeded=counts[SUCCESS],
            erred=counts[ERROR],
            excepted=counts[EXCEPTION],
        )


@dataclass(frozen=True, kw_only=True)
class ProcessorStatistics:
    """One processor, since it was made."""

    name: str
    """The name in its fingerprint."""
    state: str
    """``idle``, ``consuming``, ``restoring`` (after a loss), ``paused``, ``tripped`` (by its kill
    switch) or ``draining`` (before its end)."""
    queues: tuple[str, ...]
    """The queues that it consumes from."""
    busy: int
    """Messages whose handlers run now."""
    waiting: int
    """Messages that were delivered and wait for a free slot, a limit, or the kill switch."""
    handled: int
    """Messages that had a handler."""
    unhandled: int
    """Messages that had no handler."""
    failed: int
    """Messages whose handler raised an error, after all tries at once."""
    malformed: int
    """Messages whose bodies were malformed."""
    filtered: int
    """Messages that a filter discarded for a handler."""
    expired: int
    """Requests that were dropped because their callers had stopped waiting."""
    poisonous: int
    """Messages that were delivered over ``max_deliveries`` times and never settled."""
    duplicates: int
    """Messages that it had handled before, and acknowledged without another run."""
    retried: int
    """How many times handlers ran at once again, by a `Retry`."""
    delayed: int
    """Messages that were given to the broker, to be handled again later."""
    parked: int
    """Messages that were put into a parking queue."""
    trips: int
    """How many times its kill switch has opened."""
    stale: int
    """Messages whose channel had ended before they were handled: the broker redelivers them."""
    lost_replies: int
    """Replies that could not be sent."""
    restored: int
    """How many times it has consumed again after a loss of its consumers."""
    jobs: int
    """Runs of its periodic jobs."""
    failed_jobs: int
    """Runs of jobs that raised an error."""
    restarts: int
    """How many times its scheduler has restarted it."""


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
    """Messages that the broker has not confirmed yet."""
    delivered: int
    """Messages delivered to consumers."""
    consumers: int
    """Its consumers on the broker."""
    stale_acks: int
    """Acks and rejects after the end of the channel: the broker redelivers those messages."""
    returned: int
    """Mandatory messages and calls that were returned because they reached no queue."""


@dataclass(frozen=True, kw_only=True)
class ConnectionStatistics:
    """One of the two connections that all components of a hub share, reconnects included.

    The fields from *host* on describe the present connection; they are empty or 0 without one.
    """

    role: str
    """``publishing`` or ``consuming``."""
    vhost: str
    """The virtual host."""
    state: str
    """``idle`` (not used yet), ``opening``, ``open``, ``waiting`` (between two tries to connect),
    ``lost`` (and not used since) or ``closed``."""
    losses: int
    """How many times the connection was lost."""
    waiting: int
    """Greenlets that wait until the connection is open."""
    host: str = ""
    """The host of the broker."""
    port: int = 0
    """The port of the broker."""
    blocked: str | None = None
    """Why the broker accepts no publishes now (an alarm), or None."""
    bytes_unsent: int = 0
    """Bytes that wait to be sent."""
    bytes_sent: int = 0
    """Bytes written, those in *bytes_unsent* included."""
    bytes_received: int = 0
    """Bytes received."""
    channels: tuple[ChannelStatistics, ...] = ()
    """Its channels, in the order of their numbers."""
