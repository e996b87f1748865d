"""How long a call waits and how often it is sent; who sends ids back; both without any broker."""

from __future__ import annotations

import math

import pytest

from postage.green.retry import LATE, LONGEST, Patience, expiration
from postage.green.rpc.peers import Echoes
from tests.support.clock import Clock


def test_each_try_has_its_time_and_all_have_theirs(clock: Clock) -> None:
    patience = Patience(2.0, 3, clock=clock)
    assert patience.total == 6.0
    for _ in range(3):
        assert not patience.is_over
        assert patience.begin() == 2.0
        clock.now += 2.0
    assert patience.is_spent
    assert patience.is_over


def test_who_is_woken_a_little_late_still_has_all_of_the_last_try(clock: Clock) -> None:
    patience = Patience(2.0, 3, clock=clock)
    clock.now += 4.0 + 0.9 * LATE
    assert patience.begin() == 2.0


def test_what_was_spent_on_connecting_is_missing_at_the_end(clock: Clock) -> None:
    patience = Patience(2.0, 3, clock=clock)
    clock.now += 5.0
    assert patience.begin() == pytest.approx(1.0 + LATE)
    assert not patience.is_over
    clock.now += 1.0 + 2 * LATE
    assert (patience.begin(), patience.left) == (0.0, 0.0)
    assert patience.is_over
    assert not patience.is_spent


def test_a_bound_is_kept_to_the_moment(clock: Clock) -> None:
    patience = Patience(2.0, 3, 0.5, clock)
    assert (patience.begin(), patience.total) == (0.5, 0.5)
    clock.now += 0.5
    assert patience.is_over


def test_a_bound_that_is_over_leaves_no_try(clock: Clock) -> None:
    assert Patience(2.0, 3, 0.0, clock).is_over


@pytest.mark.parametrize("tries", [0, -3])
def test_no_tries_are_over_at_once(clock: Clock, tries: int) -> None:
    assert Patience(2.0, tries, clock=clock).is_over


def test_a_call_without_any_time_is_sent_all_the_same(clock: Clock) -> None:
    patience = Patience(0.0, 2, clock=clock)
    assert not patience.is_over
    assert patience.begin() == 0.0


@pytest.mark.parametrize(
    ("seconds", "property_"),
    [(0.0, "0"), (0.1, "100"), (0.0004, "0"), (30, "30000"), (math.inf, str(LONGEST))],
)
def test_an_expiration_is_in_whole_milliseconds_that_a_broker_takes(
    seconds: float, property_: str
) -> None:
    assert expiration(seconds) == property_


# --- who sends the id back


def test_a_destination_is_known_by_its_replies() -> None:
    echoes = Echoes()
    assert ("e", "k") not in echoes
    echoes.learn(("e", "k"), echoes=True)
    assert ("e", "k") in echoes
    assert ("e", "other") not in echoes


def test_who_left_the_id_out_once_is_never_trusted_again() -> None:
    echoes = Echoes()
    echoes.learn(("e", "k"), echoes=True)
    echoes.learn(("e", "k"), echoes=False)
    assert ("e", "k") not in echoes
    echoes.learn(("e", "k"), echoes=True)
    assert ("e", "k") not in echoes


def test_the_oldest_is_forgotten_where_there_are_many() -> None:
    echoes = Echoes(limit=3)
    for number in range(10):
        echoes.learn(("e", str(number)), echoes=True)
        assert len(echoes) <= 3
    assert [number for number in range(10) if ("e", str(number)) in echoes] == [7, 8, 9]
