"""The states of a connection: every move that is legal, and no other."""

from __future__ import annotations

import copy
import itertools

import pytest

from postage.green.amqp.link import MOVES, Fact, Link, step

LEGAL = {
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
ILLEGAL = [pair for pair in itertools.product(Link, Fact) if pair not in LEGAL]


def names(pair: tuple[Link, Fact]) -> str:
    return f"{pair[1].name} while {pair[0].name}"


@pytest.mark.parametrize("pair", LEGAL, ids=names)
def test_legal_move(pair: tuple[Link, Fact]) -> None:
    assert step(*pair) is LEGAL[pair]


@pytest.mark.parametrize("pair", ILLEGAL, ids=names)
def test_illegal_move_raises_and_changes_nothing(pair: tuple[Link, Fact]) -> None:
    before = copy.deepcopy(MOVES)
    with pytest.raises(AssertionError, match=f"{pair[1].name} .* {pair[0].name}"):
        step(*pair)
    assert before == MOVES


def test_every_state_can_be_reached_and_every_one_can_end() -> None:
    def reachable(start: Link) -> set[Link]:
        found = {start}
        while more := {to for state in found for to in MOVES[state].values()} - found:
            found |= more
        return found

    assert reachable(Link.IDLE) == set(Link)
    assert all(Link.CLOSED in reachable(state) for state in Link)
