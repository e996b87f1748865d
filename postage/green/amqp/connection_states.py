"""The states of a connection as two tables.  Pure: no gevent, no I/O.

How it works
------------
Two classes have the states of a connection, and each follows a table of its own:

* A `Connection` is one TCP connection.  It opens once and ends once, by `SINGLE`::

      IDLE --CONNECT--> OPENING --OPENED--> OPEN --CLOSE--> CLOSING --ENDED--> CLOSED
                           |                  |
                           +------ LOST ------+-----------> LOST

* A `Reconnecting` lives as long as the program.  It makes one `Connection` after the other, with
  pauses between the tries, by `RECONNECTING`::

      IDLE --PAUSE--> WAITING --CONNECT--> OPENING --OPENED--> OPEN --LOST--> LOST
                         ^                    |                                 |
                         +------- PAUSE ------+---------------------- PAUSE ----+

  CLOSE leads from each of them to CLOSED.  CLOSING is not among its states, because only its
  `Connection` has to wait until it is closed.

The tables share one set of states, so that logs, ``repr`` and statistics use the same words.  A
table never leads to a state for which it has no row.  `next_state` raises for an event that has no
entry for the present state: a wrong state without an error could leave greenlets waiting for ever.
CLOSE, LOST and GIVE_UP are also allowed where they change nothing, because two callers may close
the same connection, and its socket or its connecting greenlet may end after the close.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import TypeAlias

__all__ = ["RECONNECTING", "SINGLE", "ConnectionEvent", "ConnectionState", "next_state"]


class ConnectionState(enum.Enum):
    """Where a connection is in its life."""

    IDLE = enum.auto()
    OPENING = enum.auto()
    OPEN = enum.auto()
    WAITING = enum.auto()
    """Between two tries to connect."""
    CLOSING = enum.auto()
    CLOSED = enum.auto()
    LOST = enum.auto()


class ConnectionEvent(enum.Enum):
    """What can happen to a connection."""

    CONNECT = enum.auto()
    OPENED = enum.auto()
    PAUSE = enum.auto()
    """A greenlet wants the connection: connect after a pause, of 0 s unless the last one failed."""
    GIVE_UP = enum.auto()
    """Stop trying: no greenlet waits any longer, or all that wait get an error."""
    LOST = enum.auto()
    CLOSE = enum.auto()
    ENDED = enum.auto()


State: TypeAlias = ConnectionState
Event: TypeAlias = ConnectionEvent
Transitions = Mapping[State, Mapping[Event, State]]

SINGLE: Transitions = {
    State.IDLE: {Event.CONNECT: State.OPENING, Event.CLOSE: State.CLOSED},
    State.OPENING: {
        Event.OPENED: State.OPEN,
        Event.LOST: State.LOST,
        Event.CLOSE: State.CLOSED,
    },
    State.OPEN: {Event.LOST: State.LOST, Event.CLOSE: State.CLOSING},
    # A connection that is lost while it closes is closed: no greenlet waits for anything on it.
    State.CLOSING: {
        Event.ENDED: State.CLOSED,
        Event.LOST: State.CLOSED,
        Event.CLOSE: State.CLOSING,
    },
    State.CLOSED: {
        Event.CLOSE: State.CLOSED,
        Event.LOST: State.CLOSED,
        Event.ENDED: State.CLOSED,
    },
    State.LOST: {Event.CLOSE: State.CLOSED, Event.LOST: State.LOST},
}

RECONNECTING: Transitions = {
    State.IDLE: {
        Event.PAUSE: State.WAITING,
        Event.GIVE_UP: State.IDLE,
        Event.CLOSE: State.CLOSED,
    },
    State.OPENING: {
        Event.OPENED: State.OPEN,
        Event.PAUSE: State.WAITING,
        Event.GIVE_UP: State.LOST,
        Event.CLOSE: State.CLOSED,
    },
    State.OPEN: {Event.LOST: State.LOST, Event.CLOSE: State.CLOSED},
    State.WAITING: {
        Event.CONNECT: State.OPENING,
        Event.GIVE_UP: State.LOST,
        Event.CLOSE: State.CLOSED,
    },
    # It stays lost until a greenlet wants a connection; consumers want one at once.
    State.LOST: {
        Event.PAUSE: State.WAITING,
        Event.GIVE_UP: State.LOST,
        Event.CLOSE: State.CLOSED,
    },
    State.CLOSED: {
        Event.GIVE_UP: State.CLOSED,
        Event.CLOSE: State.CLOSED,
        Event.LOST: State.CLOSED,
    },
}


def next_state(transitions: Transitions, state: State, event: Event) -> State:
    """Return the state after *event*; raise `AssertionError` where *event* cannot happen."""
    if event not in transitions.get(state, {}):
        raise AssertionError(f"{event.name} cannot happen to a connection that is {state.name}")
    return transitions[state][event]
