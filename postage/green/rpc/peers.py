"""The peers of calls: does a server return the correlation id?  Pure: no gevent, no I/O.

A call can share one reply queue with others only if its reply carries the correlation id.  Postage
1.2.1 does not return the id, and only a reply shows whether a server does.  So the calling side
keeps one state for each destination, an exchange and a routing key:

* ``UNKNOWN``: no reply has arrived yet;
* ``PROBING``: a first call, the *probe*, is on its way, and others wait briefly for its result;
* ``ECHOES``: every reply so far had the id, so calls share the reply queue;
* ``CLASSIC``: at least one reply had no id, so each call has a reply queue of its own, for good.

Only what arrives on the own queue of a call decides between the last two: the broker has chosen the
name of this queue, and only the servers of the destination are told.  All servers that were ever
called know the shared queue.  A message without an id that arrives there may be a forgery, and has
no destination, so it only makes the next call to each destination a probe again.

The probe asks for a *receipt*: a message that Postage sends before it handles the request.  It
shows as soon as the request arrives whether the server returns the id.  Servers without receipts
ignore the question.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping

__all__ = ["RECEIPT", "Destination", "PeerEvent", "PeerState", "PeerTable", "next_peer_state"]

Destination = tuple[str, str]
"""The name of an exchange and a routing key: together they decide which server answers."""

RECEIPT = "postage.receipt"
"""The property ``type`` of a request that asks for a receipt, and of the receipt.  A receipt has
the correlation id of the request and an empty body."""

MAX_DESTINATIONS = 10_000
"""Destinations in a table.  Beyond that the oldest one is dropped, and the next call to it is a
probe again."""


class PeerState(enum.IntEnum):
    """What the replies from a destination have shown."""

    UNKNOWN = enum.auto()
    PROBING = enum.auto()
    ECHOES = enum.auto()
    CLASSIC = enum.auto()


class PeerEvent(enum.IntEnum):
    """What can happen at a destination."""

    PROBE_STARTED = enum.auto()
    PROBE_ENDED = enum.auto()
    """The probe has its outcome, or was given up."""
    ID_RETURNED = enum.auto()
    """A reply or a receipt had the id of its request."""
    ID_MISSING = enum.auto()
    """A reply on the own queue of a call had no id, or that of another call."""
    DOUBTED = enum.auto()
    """A message without an id has arrived on the shared reply queue."""


UNKNOWN, PROBING, ECHOES, CLASSIC = PeerState
PROBE_STARTED, PROBE_ENDED, ID_RETURNED, ID_MISSING, DOUBTED = PeerEvent

PEER_MOVES: Mapping[PeerState, Mapping[PeerEvent, PeerState]] = {
    # A probe can end in UNKNOWN, if its destination was dropped from the table meanwhile.
    UNKNOWN: {
        PROBE_STARTED: PROBING,
        PROBE_ENDED: UNKNOWN,
        ID_RETURNED: ECHOES,
        ID_MISSING: CLASSIC,
        DOUBTED: UNKNOWN,
    },
    PROBING: {PROBE_ENDED: UNKNOWN, ID_RETURNED: ECHOES, ID_MISSING: CLASSIC, DOUBTED: PROBING},
    ECHOES: {PROBE_ENDED: ECHOES, ID_RETURNED: ECHOES, ID_MISSING: CLASSIC, DOUBTED: UNKNOWN},
    # One reply without an id shows that a classic server takes part, whatever others reply.
    CLASSIC: dict.fromkeys((PROBE_ENDED, ID_RETURNED, ID_MISSING, DOUBTED), CLASSIC),
}


def next_peer_state(state: PeerState, event: PeerEvent) -> PeerState:
    """Return the state after *event*; raise `AssertionError` if it cannot happen in *state*."""
    try:
        return PEER_MOVES[state][event]
    except KeyError:
        text = f"{event.name} cannot happen at a peer that is {state.name}"
        raise AssertionError(text) from None


class PeerTable(dict[Destination, PeerState]):
    """The state of each destination; ``UNKNOWN`` for those that it does not hold."""

    def __init__(self, limit: int = MAX_DESTINATIONS) -> None:
        super().__init__()
        self._limit = limit

    def __missing__(self, destination: Destination) -> PeerState:
        return UNKNOWN

    def record(self, destination: Destination, event: PeerEvent) -> PeerState:
        """Record *event*; return the new state of *destination*."""
        state = next_peer_state(self[destination], event)
        if state is UNKNOWN:  # no reply has come: the destination need not even be possible
            self.pop(destination, None)
            return state
        self[destination] = state
        if len(self) > self._limit:
            del self[next(iter(self))]
        return state
