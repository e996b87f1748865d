"""The limits of a broker.  Sizes are bytes and times are seconds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from postage.values import MAX_SHORT_INT, Rule, check_values, number, seconds

__all__ = ["Limits"]

_RULES: Mapping[str, Rule] = {
    "frame_max": number(4096, (1 << 32) - 1),
    **dict.fromkeys(("message_max", "connections", "queues", "memory", "unsent"), number(0)),
    "channels": number(1, MAX_SHORT_INT),
    "handshake": seconds(),
    "heartbeat": number(0, MAX_SHORT_INT),
}

LEAST_DEFINITIONS = 1 << 20
"""Bytes of definitions that even a broker without memory for messages accepts."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The limits of one broker; its constructor takes each of them."""

    frame_max: int = 131072
    """The largest frame; a client may negotiate less, down to 4,096."""
    message_max: int = 16 << 20
    """The largest body of a message; a larger publish closes the channel (406)."""
    connections: int = 1024
    """Open connections; the broker closes any further connection at connection.open."""
    channels: int = 2047
    """Channels of one connection."""
    queues: int = 100_000
    """Queues of one virtual host; the declaration of any further queue is refused (406)."""
    memory: int = 256 << 20
    """Bytes of messages, in queues, unacknowledged, in transactions, incomplete or unsent.

    Beyond this, publishers are blocked.  They may go on when the messages take less than 80 % of
    this.  Half of this are also `most_held` and `most_definitions`.
    """
    unsent: int = 4 << 20
    """Bytes of answers that a client may leave unread before the broker stops reading from it.

    Deliveries to the connection pause much earlier, as soon as its socket buffer is full.
    """
    handshake: float = 10.0
    """Seconds from the connection to the opened virtual host."""
    heartbeat: int = 60
    """Seconds between heartbeats that the broker proposes."""

    @property
    def most_held(self) -> int:
        """Bytes that connections may hold outside queues; beyond them, the greediest are ended.

        These are unfinished messages, transactions, and output that the client does not read.
        With empty queues, this is less than what blocks publishers.
        """
        return self.memory // 2

    @property
    def most_definitions(self) -> int:
        """Bytes of queues, exchanges, bindings, consumers and channels, without any messages.

        Any further one is refused (406; 506 for a channel).
        """
        return max(self.memory // 2, LEAST_DEFINITIONS)

    def __post_init__(self) -> None:
        """Raise `SettingsError` for a limit that cannot be used."""
        check_values(self, _RULES)
