"""Tells a half-open connection from a quiet one.  Pure: no gevent, no I/O.

How it works
------------
The other end of a half-open connection is gone, but no packet says so: a router has dropped its
state, or a machine has died.  Heartbeats reveal that only after two intervals, two minutes by
default, and publishers wait that long although a new connection would work at once.

So the transport looks at each connection once a second (`LOOK_INTERVAL`).  If we have written
something, and no byte has arrived at the next `PATIENCE` looks, the connection asks the broker for
something that it answers at once.  After `PATIENCE` further looks without a byte the connection is
given up.  Looks are counted instead of seconds, because a hub that computes reads less often, too.

These are no signs of a half-open connection:

* The broker owes us nothing, and we have written nothing since its last byte but a heartbeat.
* The broker has an alarm, and does not read from connections that publish.
* Data still waits, and becomes less: the network is slow.

A slow network may also keep the data in the buffers of machines on the way.  Then no data waits
here, but the broker has not received the question yet.  So there are more looks after the question:
as many as the data written before it needs to reach the broker at `SLOWEST` bytes a look.
"""

from __future__ import annotations

import enum

from postage.protocol import HEARTBEAT_FRAME

__all__ = ["LOOK_INTERVAL", "MAX_ALLOWANCE", "PATIENCE", "SLOWEST", "Silence", "SilenceVerdict"]

LOOK_INTERVAL = 1.0
"""Seconds between two looks at a connection."""
PATIENCE = 5
"""Looks without a byte before the broker is asked, and again before the connection is given up."""
SLOWEST = 100_000
"""Bytes that the slowest network we allow for carries between two looks."""
MAX_ALLOWANCE = 60
"""The most looks that are added for a slow network.  Without a limit, a connection that publishes
fast and becomes half-open would be left to its heartbeats."""


class SilenceVerdict(enum.Enum):
    """What a look at a connection leads to."""

    WAIT = enum.auto()
    ASK = enum.auto()
    """Ask the broker for something that it answers at once."""
    GIVE_UP = enum.auto()


class Silence:
    """The silence of one connection: how many looks have found no byte that we can expect."""

    __slots__ = ("_allowance", "_heard", "_is_suspect", "_looks", "_waiting")

    def __init__(self) -> None:
        self._allowance = self._heard = self._waiting = self._looks = 0
        self._is_suspect = False

    def suspect(self) -> None:
        """Ask at the next look in any case, because the network has failed elsewhere."""
        self._is_suspect = True
        self._looks = max(self._looks, PATIENCE - 1)

    def excuse(self) -> None:
        """Begin anew, because the broker cannot be asked."""
        self._looks = 0

    def look(
        self, *, received: int, unanswered: int, is_owed: bool, waiting: int, blocked: bool
    ) -> SilenceVerdict:
        """Return what to do.

        *received* counts the bytes since the connection opened, *unanswered* those that we have
        written since the last of them came, and *waiting* those that have not left this machine.
        *is_owed*: the broker owes us a confirm or an answer.  *blocked*: the broker has an alarm.
        """
        is_draining, self._waiting = 0 < waiting < self._waiting, waiting
        if received != self._heard:
            self._heard, self._is_suspect = received, False
            self._looks = 0
        elif blocked or is_draining:
            self._looks = 0
        elif is_owed or self._is_suspect or unanswered > len(HEARTBEAT_FRAME):
            self._looks += 1
            if self._looks == PATIENCE:
                self._allowance = min(max(unanswered - waiting, 0) // SLOWEST, MAX_ALLOWANCE)
                return SilenceVerdict.ASK
            if self._looks >= 2 * PATIENCE + self._allowance:
                return SilenceVerdict.GIVE_UP
        return SilenceVerdict.WAIT
