"""Heartbeats of one connection, both ways (AMQP 0-9-1, 4.2.7)."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from postage.broker.session.client_connection import ClientConnection

__all__ = ["Heartbeats"]

logger = logging.getLogger(__name__)

FRAME = b"\x08\x00\x00\x00\x00\x00\x00\xce"
PATIENCE = 4
"""Halves of the interval that a client may be silent for: two whole ones."""


class Heartbeats:
    """Sends a frame where nothing else was sent, and ends a client that is silent."""

    def __init__(self, connection: ClientConnection, seconds: int) -> None:
        self._connection, self._half = connection, seconds / 2
        self._silent = 0
        self._wait()

    def _wait(self) -> None:
        self._connection.node.timers.later(self._half, self._check)

    def _check(self) -> None:
        connection = self._connection
        if connection.has_ended:
            return
        if not connection.sent:
            connection.write(FRAME)
        # A client from which we do not read cannot be heard.
        heard = connection.received or connection.is_held_back
        self._silent = 0 if heard else self._silent + 1
        connection.sent = connection.received = False
        if self._silent >= PATIENCE:
            logger.info("%r missed its heartbeats.", connection)
            connection.drop()
        else:
            self._wait()
