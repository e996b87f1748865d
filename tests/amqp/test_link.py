"""The states of a connection: every move that is legal, and no other."""

from __future__ import annotations

import copy
import itertools
from typing import Any

import pytest

from postage.green.amqp.connection_states import MANY_LIVES, ONE_LIFE, Fact, Link, step

ONCE = {
    (Link.IDLE, Fact.DIAL): Link.OPENING,
    (Link.IDLE, Fact.CLOSE): Link.CLOSED,
    (Link.OPENING, Fact.OPENED): Link.OPEN,
    (Link.OPENING, Fact.LOST): Link.LOST,
    (Link.OPENING, Fact.CLOSE): Link.CLOSED,
    (Link.OPEN, Fact.LOST): Link.LOST,
    (Link.OPEN, Fact.CLOSE): Link.CLOSING,
    (Link.CLOSING, Fact.ENDED): Link.CLOSED,
    (Link.CLOSING, Fact.LOST): Link.CLOSED,
    (Link.CLOSING, Fact.CLOSE): Link.CLOSING,
    (Link.CLOSED, Fact.CLOSE): Link.CLOSED,
    (Link.CLOSED, Fact.LOST): Link.CLOSED,
    (Link.CLOSED, Fact.ENDED): Link.CLOSED,
    (Link.LOST, Fact.CLOSE): Link.CLOSED,
    (Link.LOST, Fact.LOST): Link.LOST,
}
AGAIN = {
    (Link.IDLE, Fact.PAUSE): Link.WAITING,
    (Link.IDLE, Fact.GIVE_UP): Link.IDLE,
    (Link.IDLE, Fact.CLOSE): Link.CLOSED,
    (Link.OPENING, Fact.OPENED): Link.OPEN,
    (Link.OPENING, Fact.PAUSE): Link.WAITING,
    (Link.OPENING, Fact.GIVE_UP): Link.LOST,
    (Link.OPENING, Fact.CLOSE): Link.CLOSED,
    (Link.OPEN, Fact.LOST): Link.LOST,
    (Link.OPEN, Fact.CLOSE): Link.CLOSED,
    (Link.WAITING, Fact.DIAL): Link.OPENING,
    (Link.WAITING, Fact.GIVE_UP): Link.LOST,
    (Link.WAITING, Fact.CLOSE): Link.CLOSED,
    (Link.LOST, Fact.PAUSE): Link.WAITING,
    (Link.LOST, Fact.GIVE_UP): Link.LOST,
    (Link.LOST, Fact.CLOSE): Link.CLOSED,
    (Link.CLOSED, Fact.CLOSE): Link.CLOSED,
    (Link.CLOSED, Fact.LOST): Link.CLOSED,
}
EVERY = list(itertools.product(Link, Fact))
TABLES = [
    pytest.param(ONE_LIFE, ONCE, id="one life"),
    pytest.param(MANY_LIVES, AGAIN, id="many lives"),
]


@pytest.mark.parametrize("pair", EVERY, ids=lambda pair: f"{pair[1].name} while {pair[0].name}")
@pytest.mark.parametrize(("moves", "legal"), TABLES)
def test_a_legal_move_is_made_and_an_illegal_one_raises(
    moves: Any, legal: dict[Any, Link], pair: tuple[Link, Fact]
) -> None:
    if pair in legal:
        assert step(moves, *pair) is legal[pair]
        return
    before = copy.deepcopy(moves)
    with pytest.raises(AssertionError, match=f"{pair[1].name} .* {pair[0].name}"):
        step(moves, *pair)
    assert before == moves


@pytest.mark.parametrize(("moves", "legal"), TABLES)
def test_every_state_can_be_reached_and_every_one_can_end(moves: Any, legal: Any) -> None:
    def reachable(start: Link) -> set[Link]:
        found = {start}
        while more := {to for state in found for to in moves[state].values()} - found:
            found |= more
        return found

    assert reachable(Link.IDLE) == set(moves) == {state for state, _ in legal}
    assert all(Link.CLOSED in reachable(state) for state in moves)
