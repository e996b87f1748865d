"""What the broker allows at most.  Bytes and seconds, unless the name says otherwise."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Limits"]


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The limits of one broker; every one can be given to its constructor."""

    frame_max: int = 131072
    """The largest frame; a client may agree on less, down to 4,096."""
    message_max: int = 16 << 20
    """The largest body of a message; a publish beyond it closes the channel (406)."""
    connections: int = 1024
    """Connections at once; one more is closed as it opens."""
    channels: int = 2047
    """Channels of one connection."""
    queues: int = 100_000
    """Queues of one virtual host; one more is refused (406)."""
    memory: int = 256 << 20
    """Bytes of messages, in queues, unacknowledged or unsent, at which publishers are blocked; they
    go on at 80 % of it."""
    unsent: int = 4 << 20
    """Answers that one connection leaves unread before nothing more is read from it, in bytes.

    Deliveries to it pause much earlier, as soon as its socket takes no more.
    """
    handshake: float = 10.0
    """From the connection to the opened virtual host."""
    heartbeat: int = 60
    """What the broker proposes."""
