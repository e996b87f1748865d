"""Until when a message is tried, and after which pauses; by a clock that is turned by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postage.green.tries import LEAST, LONGEST, Tries
from tests.support.clock import Clock


def pauses(limit: float, each_takes: float = 0.0) -> list[float]:
    """Return the pauses between tries which take that long each."""
    clock, found = Clock(), []
    tries = Tries(limit, clock)
    while True:
        clock.now += each_takes
        pause = tries.pause()
        if pause is None:
            return found
        found.append(pause)
        clock.now += pause


def test_the_second_try_comes_at_once_and_the_others_after_pauses_that_double() -> None:
    assert pauses(30.0)[:10] == [0, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1, 1]


def test_what_is_left() -> None:
    clock = Clock()
    tries = Tries(2.0, clock)
    clock.now += 0.5
    assert (tries.left, tries.limit) == (1.5, 2.0)
    clock.now += 5
    assert tries.left == 0
    assert tries.pause() is None


def test_a_limit_that_is_over_already_leaves_no_second_try() -> None:
    assert pauses(-1.0) == []
    assert pauses(0.0) == []


@given(st.floats(0, 60), st.floats(0.001, 20))
def test_no_try_begins_after_the_limit_or_right_before_it(limit: float, each_takes: float) -> None:
    waited = pauses(limit, each_takes)
    begins = sum(waited) + each_takes * len(waited)
    assert not waited or begins <= limit - LEAST + 1e-6
    assert max(waited, default=0) <= LONGEST


@pytest.mark.parametrize("limit", [0.5, 5.0])
def test_the_time_is_used(limit: float) -> None:
    assert sum(pauses(limit)) > limit - LONGEST - LEAST
