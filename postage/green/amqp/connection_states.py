"""The states of a connection, as tables.  No gevent and no pika here: this file only decides.

One `Connection` lives once, by `ONE_LIFE`; what makes it anew when it was lost, by `MANY_LIVES`.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping

__all__ = ["MANY_LIVES", "ONE_LIFE", "Fact", "Link", "step"]


class Link(enum.Enum):
    """Where a connection is in its life."""

    IDLE = enum.auto()
    OPENING = enum.auto()
    OPEN = enum.auto()
    WAITING = enum.auto()
    """Between two tries to connect."""
    CLOSING = enum.auto()
    CLOSED = enum.auto()
    LOST = enum.auto()


class Fact(enum.Enum):
    """What can happen to it."""

    DIAL = enum.auto()
    OPENED = enum.auto()
    PAUSE = enum.auto()
    """Somebody wants it: a try comes after a pause, which is of no length where all was well."""
    GIVE_UP = enum.auto()
    """Nobody waits for a connection any more, or all who wait get an error."""
    LOST = enum.auto()
    CLOSE = enum.auto()
    ENDED = enum.auto()


Moves = Mapping[Link, Mapping[Fact, Link]]

ONE_LIFE: Moves = {
    Link.IDLE: {Fact.DIAL: Link.OPENING, Fact.CLOSE: Link.CLOSED},
    Link.OPENING: {Fact.OPENED: Link.OPEN, Fact.LOST: Link.LOST, Fact.CLOSE: Link.CLOSED},
    Link.OPEN: {Fact.LOST: Link.LOST, Fact.CLOSE: Link.CLOSING},
    # A connection lost while it closes is closed: nobody waits for anything any more.
    Link.CLOSING: {Fact.ENDED: Link.CLOSED, Fact.LOST: Link.CLOSED, Fact.CLOSE: Link.CLOSING},
    # Closing twice is fine, and so is hearing late of an end.
    Link.CLOSED: {Fact.CLOSE: Link.CLOSED, Fact.LOST: Link.CLOSED, Fact.ENDED: Link.CLOSED},
    Link.LOST: {Fact.CLOSE: Link.CLOSED, Fact.LOST: Link.LOST},
}

MANY_LIVES: Moves = {
    Link.IDLE: {Fact.PAUSE: Link.WAITING, Fact.GIVE_UP: Link.IDLE, Fact.CLOSE: Link.CLOSED},
    Link.OPENING: {
        Fact.OPENED: Link.OPEN,
        Fact.PAUSE: Link.WAITING,
        Fact.GIVE_UP: Link.LOST,
        Fact.CLOSE: Link.CLOSED,
    },
    Link.OPEN: {Fact.LOST: Link.LOST, Fact.CLOSE: Link.CLOSED},
    Link.WAITING: {Fact.DIAL: Link.OPENING, Fact.GIVE_UP: Link.LOST, Fact.CLOSE: Link.CLOSED},
    # It is dialled again when somebody wants it; who consumes wants it at once.
    Link.LOST: {Fact.PAUSE: Link.WAITING, Fact.GIVE_UP: Link.LOST, Fact.CLOSE: Link.CLOSED},
    Link.CLOSED: {Fact.CLOSE: Link.CLOSED, Fact.LOST: Link.CLOSED},
}


def step(moves: Moves, state: Link, fact: Fact) -> Link:
    """Return the state after *fact*; raise `AssertionError` for what cannot happen."""
    if fact not in moves.get(state, {}):
        raise AssertionError(f"{fact.name} cannot happen to a connection that is {state.name}")
    return moves[state][fact]
