"""Plans what the channels that a broker allows are used for.  Pure: no gevent, no I/O."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["ChannelPlan", "share_of"]

OWN_CHANNELS = 50
"""Consumers that get a channel of their own; later ones share.

A channel costs 6 KB here and 50 KB in RabbitMQ, which allows 2,047 of them on a connection.  Eighty
channels keep all cores of RabbitMQ busy.
"""
SHARED_CHANNELS = 30
"""Channels that the later consumers share."""
RESERVED = 2
"""Channels that consumers leave free at least: one for the replies to calls, one to declare."""
PUBLISHING = 4
"""Channels of a publishing connection: with and without confirms, for calls, and to declare."""
TRIALS = 1
"""Channels for trials on connections of their own."""
FEW = 4
"""Channels of a user of which none is kept for trials: a consumer, the replies to calls, the calls
and one to declare need them all."""


class ChannelPlan(NamedTuple):
    """How many channels the consumers of one connection may use."""

    own: int
    """Consumers that have a channel of their own."""
    shared: int
    """Channels for all other consumers."""

    @classmethod
    def of(cls, limit: int) -> ChannelPlan:
        """Return the plan for a connection that may have *limit* channels, at least 1."""
        room = limit - min(max(RESERVED, limit // 4), limit - 1)
        own = min(OWN_CHANNELS, room // 2)
        return cls(own, min(SHARED_CHANNELS, room - own))

    @property
    def is_tight(self) -> bool:
        """Whether the broker allows fewer channels than we would like to use."""
        return self.own < OWN_CHANNELS


def share_of(role: str, total: int) -> int:
    """Return how many of *total* channels of a user are for the connection for *role*."""
    publishing = min(PUBLISHING, max(1, total // 2))
    trials = TRIALS if total > FEW else 0
    return publishing if role == "publishing" else max(1, total - publishing - trials)
