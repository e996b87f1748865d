"""Retries: pauses, limits, and the budget of a call; by a clock that the test sets."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postage.green.tries import (
    MAX_EXPIRATION,
    MAX_PAUSE,
    MIN_TRY_TIME,
    WAKE_UP_GRACE,
    CallBudget,
    RetryTimer,
    expiration,
)
from tests.support.clock import Clock


def pauses(limit: float, each_takes: float = 0.0) -> list[float]:
    """Return the pauses between tries which take that long each."""
    clock, found = Clock(), []
    timer = RetryTimer(limit, clock)
    while True:
        clock.now += each_takes
        pause = timer.next_pause()
        if pause is None:
            return found
        found.append(pause)
        clock.now += pause


def test_the_second_try_is_immediate_and_later_pauses_double() -> None:
    assert pauses(30.0)[:10] == [0, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1, 1]


def test_what_is_left() -> None:
    clock = Clock()
    timer = RetryTimer(2.0, clock)
    clock.now += 0.5
    assert (timer.remaining, timer.limit) == (1.5, 2.0)
    clock.now += 5
    assert timer.remaining == 0
    assert timer.next_pause() is None


def test_a_limit_that_is_over_already_leaves_no_second_try() -> None:
    assert pauses(-1.0) == []
    assert pauses(0.0) == []


@given(st.floats(0, 60), st.floats(0.001, 20))
def test_no_try_begins_after_the_limit_or_right_before_it(limit: float, each_takes: float) -> None:
    waited = pauses(limit, each_takes)
    begins = sum(waited) + each_takes * len(waited)
    assert not waited or begins <= limit - MIN_TRY_TIME + 1e-6
    assert max(waited, default=0) <= MAX_PAUSE


@pytest.mark.parametrize("limit", [0.5, 5.0])
def test_the_time_is_used(limit: float) -> None:
    assert sum(pauses(limit)) > limit - MAX_PAUSE - MIN_TRY_TIME


# --- the budget of a call


def test_each_try_has_its_time_and_all_have_theirs(clock: Clock) -> None:
    budget = CallBudget(2.0, 3, clock=clock)
    assert budget.total == 6.0
    for _ in range(3):
        assert not budget.expired
        assert budget.start_try() == 2.0
        clock.now += 2.0
    assert budget.exhausted
    assert budget.expired


def test_a_late_wakeup_does_not_shorten_the_last_try(clock: Clock) -> None:
    budget = CallBudget(2.0, 3, clock=clock)
    clock.now += 4.0 + 0.9 * WAKE_UP_GRACE
    assert budget.start_try() == 2.0


def test_what_was_spent_on_connecting_is_missing_at_the_end(clock: Clock) -> None:
    budget = CallBudget(2.0, 3, clock=clock)
    clock.now += 5.0
    assert budget.start_try() == pytest.approx(1.0 + WAKE_UP_GRACE)
    assert not budget.expired
    clock.now += 1.0 + 2 * WAKE_UP_GRACE
    assert (budget.start_try(), budget.remaining) == (0.0, 0.0)
    assert budget.expired
    assert not budget.exhausted


def test_a_bound_is_kept_to_the_moment(clock: Clock) -> None:
    budget = CallBudget(2.0, 3, 0.5, clock)
    assert (budget.start_try(), budget.total) == (0.5, 0.5)
    clock.now += 0.5
    assert budget.expired


def test_a_bound_that_is_over_leaves_no_try(clock: Clock) -> None:
    assert CallBudget(2.0, 3, 0.0, clock).expired


@pytest.mark.parametrize("tries", [0, -3])
def test_no_tries_are_over_at_once(clock: Clock, tries: int) -> None:
    assert CallBudget(2.0, tries, clock=clock).expired


def test_a_call_without_any_time_is_sent_all_the_same(clock: Clock) -> None:
    budget = CallBudget(0.0, 2, clock=clock)
    assert not budget.expired
    assert budget.start_try() == 0.0


@pytest.mark.parametrize(
    ("seconds", "property_"),
    [(0.0, "0"), (0.1, "100"), (0.0004, "0"), (30, "30000"), (math.inf, str(MAX_EXPIRATION))],
)
def test_an_expiration_is_a_whole_number_of_milliseconds(seconds: float, property_: str) -> None:
    assert expiration(seconds) == property_
