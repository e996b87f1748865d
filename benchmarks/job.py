"""The job of a peer's process, as one argument of JSON.

It imports little of the standard library and nothing else: every peer imports this module, and the
start of a peer is measured.
"""

from __future__ import annotations

import json
from typing import NamedTuple

EXCHANGE = "postage-benchmark"
"""The direct exchange of all benchmarks; every queue is bound to it by its own name."""
PREFETCH = 100
"""How many messages a consumer may hold unacknowledged."""


class Job(NamedTuple):
    """One role of one peer in one round."""

    peer: str
    """A module of `benchmarks.peers`."""
    style: str
    """How it does several things at once: one of `benchmarks.callers`."""
    role: str
    """A function of `benchmarks.work`."""
    url: str
    """Of the broker, ``amqp://...``."""
    queue: str
    """The queue, bound to `EXCHANGE` by its own name, unless the peer declares its own."""
    callers: int = 1
    """How many callers call or publish at once."""
    seconds: float = 3.0
    """How long to call or publish at most."""
    operations: int = 20_000
    """The most calls or publishes; the exact number of messages to fill in and consume."""
    warm_up: float = 0.5
    """Seconds of the same work before the measured part; 0 for none."""
    most_warm_up: int = 90_000
    """The largest number of operations of the warm-up."""
    pause: float = 0.0
    """How long the server's handler waits before it answers."""
    concurrency: int = 250
    """How many handlers of Postage may run at once; other peers have their own settings."""
    polling: bool = False
    """The hub of a caller of Postage asks for answers without a pause, instead of waiting."""
    confirm: bool = False
    """A publish returns when the broker has taken the message."""
    persistent: bool = True
    """The queue is durable, and published messages are persistent; calls are not."""

    @classmethod
    def from_json(cls, text: str) -> Job:
        """Return the job in *text*, which `as_json` made."""
        return cls(**json.loads(text))

    def as_json(self) -> str:
        """Return the job as one line."""
        return json.dumps(self._asdict())
