"""The states of a connection: every legal transition, and no other."""

from __future__ import annotations

import itertools
from functools import partial
from typing import Any

import pytest

from postage.green.amqp.connection_states import (
    RECONNECTING,
    SINGLE,
    ConnectionEvent,
    ConnectionState,
    next_state,
)
from tests.support.state_tables import check_move

ONCE = {
    (ConnectionState.IDLE, ConnectionEvent.CONNECT): ConnectionState.OPENING,
    (ConnectionState.IDLE, ConnectionEvent.CLOSE): ConnectionState.CLOSED,
    (ConnectionState.OPENING, ConnectionEvent.OPENED): ConnectionState.OPEN,
    (ConnectionState.OPENING, ConnectionEvent.LOST): ConnectionState.LOST,
    (ConnectionState.OPENING, ConnectionEvent.CLOSE): ConnectionState.CLOSED,
    (ConnectionState.OPEN, ConnectionEvent.LOST): ConnectionState.LOST,
    (ConnectionState.OPEN, ConnectionEvent.CLOSE): ConnectionState.CLOSING,
    (ConnectionState.CLOSING, ConnectionEvent.ENDED): ConnectionState.CLOSED,
    (ConnectionState.CLOSING, ConnectionEvent.LOST): ConnectionState.CLOSED,
    (ConnectionState.CLOSING, ConnectionEvent.CLOSE): ConnectionState.CLOSING,
    (ConnectionState.CLOSED, ConnectionEvent.CLOSE): ConnectionState.CLOSED,
    (ConnectionState.CLOSED, ConnectionEvent.LOST): ConnectionState.CLOSED,
    (ConnectionState.CLOSED, ConnectionEvent.ENDED): ConnectionState.CLOSED,
    (ConnectionState.LOST, ConnectionEvent.CLOSE): ConnectionState.CLOSED,
    (ConnectionState.LOST, ConnectionEvent.LOST): ConnectionState.LOST,
}
AGAIN = {
    (ConnectionState.IDLE, ConnectionEvent.PAUSE): ConnectionState.WAITING,
    (ConnectionState.IDLE, ConnectionEvent.GIVE_UP): ConnectionState.IDLE,
    (ConnectionState.IDLE, ConnectionEvent.CLOSE): ConnectionState.CLOSED,
    (ConnectionState.OPENING, ConnectionEvent.OPENED): ConnectionState.OPEN,
    (ConnectionState.OPENING, ConnectionEvent.PAUSE): ConnectionState.WAITING,
    (ConnectionState.OPENING, ConnectionEvent.GIVE_UP): ConnectionState.LOST,
    (ConnectionState.OPENING, ConnectionEvent.CLOSE): ConnectionState.CLOSED,
    (ConnectionState.OPEN, ConnectionEvent.LOST): ConnectionState.LOST,
    (ConnectionState.OPEN, ConnectionEvent.CLOSE): ConnectionState.CLOSED,
    (ConnectionState.WAITING, ConnectionEvent.CONNECT): ConnectionState.OPENING,
    (ConnectionState.WAITING, ConnectionEvent.GIVE_UP): ConnectionState.LOST,
    (ConnectionState.WAITING, ConnectionEvent.CLOSE): ConnectionState.CLOSED,
    (ConnectionState.LOST, ConnectionEvent.PAUSE): ConnectionState.WAITING,
    (ConnectionState.LOST, ConnectionEvent.GIVE_UP): ConnectionState.LOST,
    (ConnectionState.LOST, ConnectionEvent.CLOSE): ConnectionState.CLOSED,
    (ConnectionState.CLOSED, ConnectionEvent.GIVE_UP): ConnectionState.CLOSED,
    (ConnectionState.CLOSED, ConnectionEvent.CLOSE): ConnectionState.CLOSED,
    (ConnectionState.CLOSED, ConnectionEvent.LOST): ConnectionState.CLOSED,
}
EVERY = list(itertools.product(ConnectionState, ConnectionEvent))
TABLES = [
    pytest.param(SINGLE, ONCE, id="single"),
    pytest.param(RECONNECTING, AGAIN, id="reconnecting"),
]


@pytest.mark.parametrize("pair", EVERY, ids=lambda pair: f"{pair[1].name} while {pair[0].name}")
@pytest.mark.parametrize(("moves", "legal"), TABLES)
def test_a_legal_move_is_made_and_an_illegal_one_raises(
    moves: Any, legal: dict[Any, ConnectionState], pair: tuple[ConnectionState, ConnectionEvent]
) -> None:
    check_move(partial(next_state, moves), moves, legal, pair)


@pytest.mark.parametrize(("moves", "legal"), TABLES)
def test_every_state_can_be_reached_and_every_one_can_end(moves: Any, legal: Any) -> None:
    def reachable(start: ConnectionState) -> set[ConnectionState]:
        found = {start}
        while more := {to for state in found for to in moves[state].values()} - found:
            found |= more
        return found

    assert reachable(ConnectionState.IDLE) == set(moves) == {state for state, _ in legal}
    assert all(ConnectionState.CLOSED in reachable(state) for state in moves)
