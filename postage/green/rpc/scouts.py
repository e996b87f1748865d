"""The first calls to a destination: one goes ahead, and the others wait for what it finds.

Whether a peer sends the id of a call back, only calling it shows; until then each call needs a
reply queue of its own (`replies`), and of two hundred at once that is most of the cost.  So the
first one asks for a receipt, which Postage gives before it handles the request; 1.2.1 and others
do not know of it, and the calls that wait go on without.
"""

from __future__ import annotations

import gevent.event

from postage.green.rpc.peers import Destination

__all__ = ["PATIENCE", "RECEIPT", "Scouts"]

RECEIPT = "postage.receipt"
"""The property ``type`` of a request that asks for a receipt, and of the receipt.  That has the id
of the request, and no body."""

PATIENCE = 0.05
"""Seconds that a call waits for the receipt of another one: ten times what it takes."""


class Scouts:
    """Which destinations have a call on its way whose receipt, or reply, others wait for."""

    def __init__(self) -> None:
        self._away: dict[Destination, gevent.event.Event] = {}

    def leave(self, destination: Destination) -> bool:
        """Go ahead, unless another one does; tell whether the caller is the scout."""
        if destination in self._away:
            return False
        self._away[destination] = gevent.event.Event()
        return True

    def wait(self, destination: Destination) -> None:
        """Wait until the scout has come back, at most `PATIENCE` seconds; switches."""
        scout = self._away.get(destination)
        if scout is not None:
            scout.wait(PATIENCE)

    def come_back(self, destination: Destination) -> None:
        """Have the others go on: the scout knows, or has failed.  Never switches."""
        scout = self._away.pop(destination, None)
        if scout is not None:
            scout.set()
