"""Pictures of components, taken at one moment.  Plain data."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["ProcessorStatistics", "ProducerStatistics"]


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
