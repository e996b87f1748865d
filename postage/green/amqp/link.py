"""The states of a connection, as a table.  No gevent and no pika here: this file only decides.

Reconnecting will add a state WAITING here, for a connection that was lost and is dialled again
after a pause.  Until then a lost one stays LOST, and the next use of its pair makes a new one.
"""

from __future__ import annotations

import enum

__all__ = ["MOVES", "Fact", "Link", "step"]


class Link(enum.Enum):
    """Where a connection is in its life."""

    IDLE = enum.auto()
    OPENING = enum.auto()
    OPEN = enum.auto()
    CLOSING = enum.auto()
    CLOSED = enum.auto()
    LOST = enum.auto()


class Fact(enum.Enum):
    """What can happen to it."""

    DIAL = enum.auto()
    OPENED = enum.auto()
    LOST = enum.auto()
    CLOSE = enum.auto()
    ENDED = enum.auto()


MOVES: dict[Link, dict[Fact, Link]] = {
    Link.IDLE: {Fact.DIAL: Link.OPENING, Fact.CLOSE: Link.CLOSED},
    Link.OPENING: {Fact.OPENED: Link.OPEN, Fact.LOST: Link.LOST, Fact.CLOSE: Link.CLOSED},
    Link.OPEN: {Fact.LOST: Link.LOST, Fact.CLOSE: Link.CLOSING},
    # A connection lost while it closes is closed: nobody waits for anything any more.
    Link.CLOSING: {Fact.ENDED: Link.CLOSED, Fact.LOST: Link.CLOSED, Fact.CLOSE: Link.CLOSING},
    # Closing twice is fine, and so is hearing late of an end.
    Link.CLOSED: {Fact.CLOSE: Link.CLOSED, Fact.LOST: Link.CLOSED, Fact.ENDED: Link.CLOSED},
    Link.LOST: {Fact.CLOSE: Link.CLOSED, Fact.LOST: Link.LOST},
}


def step(state: Link, fact: Fact) -> Link:
    """Return the state after *fact*; raise `AssertionError` for what cannot happen."""
    if fact not in MOVES[state]:
        raise AssertionError(f"{fact.name} cannot happen to a connection that is {state.name}")
    return MOVES[state][fact]
