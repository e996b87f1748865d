"""What a process of a peer is told, as one argument of JSON.

Standard library only, and little of it: every peer imports this, and its start is measured.
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
    """There, and bound to `EXCHANGE` by its own name, unless the peer declares its own."""
    callers: int = 1
    """How many at once call or publish."""
    seconds: float = 3.0
    """How long to call or publish at most."""
    operations: int = 20_000
    """How often to call or publish at most; exactly as many are filled in and consumed."""
    warm_up: float = 0.5
    """Seconds of the same work before the measured part; 0 for none."""
    most_warm_up: int = 90_000
    """Operations of it at most."""
    pause: float = 0.0
    """How long the server's handler waits before it answers."""
    concurrency: int = 250
    """How many handlers of Postage may be at work at once; others have their own settings."""
    confirm: bool = False
    """A publish returns when the broker has taken the message."""
    persistent: bool = True
    """The queue is durable; messages that are published, other than calls, are persistent."""

    @classmethod
    def from_json(cls, text: str) -> Job:
        """Return the job that `as_json` made *text* of."""
        return cls(**json.loads(text))

    def as_json(self) -> str:
        """Return the job as one line."""
        return json.dumps(self._asdict())
