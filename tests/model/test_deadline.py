"""Deadlines: the remaining time, by a clock that the test sets."""

from __future__ import annotations

import math

import pytest

from postage import deadline
from postage.deadline import Deadline
from tests.support.clock import Clock


def test_the_remaining_time_shrinks_to_zero(clock: Clock) -> None:
    one = Deadline(1002.5, clock)
    assert (one.remaining(), one.expired) == (2.5, False)
    clock.now += 2
    assert (one.remaining(), one.expired) == (0.5, False)
    clock.now += 0.5
    assert (one.remaining(), one.expired) == (0.0, True)
    clock.now += 9
    assert (one.remaining(), one.expired) == (0.0, True)


def test_an_expiration_counts_from_when_the_message_came(clock: Clock) -> None:
    one = Deadline.of("1500", 999.0, clock)
    assert one.remaining() == 0.5
    assert repr(one) == "<Deadline in 0.5 s>"


@pytest.mark.parametrize("expiration", ["", "soon", "-5", "1.5", "\u0663", "\u00b2", " 7"])
def test_an_expiration_without_a_number_never_passes(clock: Clock, expiration: str) -> None:
    assert Deadline.of(expiration, 999.0, clock).remaining() == math.inf


def test_an_expiration_of_nothing_expired_at_once(clock: Clock) -> None:
    assert Deadline.of("0", clock.now, clock).expired


def test_a_cleared_deadline_limits_nothing(clock: Clock) -> None:
    one = Deadline(1001.0, clock)
    clock.now += 5
    one.clear()
    assert (one.remaining(), one.expired) == (math.inf, False)


def test_the_current_one_is_that_which_began_last(clock: Clock) -> None:
    outer, inner = Deadline(1009.0, clock), Deadline(1001.0, clock)
    assert (deadline.current(), deadline.remaining()) == (None, math.inf)
    before_outer = deadline.begin(outer)
    before_inner = deadline.begin(inner)
    assert deadline.current() is inner
    assert deadline.remaining() == 1.0
    deadline.end(before_inner)
    assert deadline.current() is outer
    assert deadline.remaining() == 9.0
    deadline.end(before_outer)
    assert (deadline.current(), deadline.remaining()) == (None, math.inf)


def test_the_default_clock_is_monotonic() -> None:
    assert Deadline(math.inf).remaining() == math.inf
    assert Deadline(0.0).expired
