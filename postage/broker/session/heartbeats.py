"""Heartbeats of one connection in both directions (AMQP 0-9-1, 4.2.7)."""

from __future__ import annotations

import logging
from typing import Protocol

from postage.broker.core.clock import Timers
from postage.protocol import HEARTBEAT_FRAME

__all__ = ["HeartbeatPeer", "Heartbeats"]

logger = logging.getLogger(__name__)

MOST_SILENT = 4
"""Half intervals of silence after which a client is considered dead: two whole intervals."""


class HeartbeatPeer(Protocol):
    """A connection as its heartbeats see it."""

    sent: bool
    """Whether anything was sent since the last check."""
    received: bool
    """Whether anything was received since the last check."""

    @property
    def is_closed(self) -> bool:
        """Whether the connection has ended."""

    @property
    def reading_paused(self) -> bool:
        """Whether the broker does not read from the client, and so cannot hear it."""

    def write(self, data: bytes) -> None:
        """Send *data*."""

    def close(self) -> None:
        """End the connection."""


class Heartbeats:
    """Sends a heartbeat if nothing else was sent, and closes a connection that is silent."""

    def __init__(self, timers: Timers, seconds: int, peer: HeartbeatPeer) -> None:
        self._timers, self._half, self._peer = timers, seconds / 2, peer
        self._silent = 0
        self._wait()

    def _wait(self) -> None:
        self._timers.later(self._half, self._check)

    def _check(self) -> None:
        peer = self._peer
        if peer.is_closed:
            return
        if not peer.sent:
            peer.write(HEARTBEAT_FRAME)
        self._silent = 0 if peer.received or peer.reading_paused else self._silent + 1
        peer.sent = peer.received = False
        if self._silent >= MOST_SILENT:
            logger.info("%r missed its heartbeats.", peer)
            peer.close()
        else:
            self._wait()
