"""The limit of a handler: its values, and its token bucket."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from postage.errors import SettingsError
from postage.handler_limits import BURST, HandlerLimit, TokenBucket, limit, limit_of
from tests.support.clock import Clock


@pytest.mark.parametrize("concurrency", [0, -1, 1.5, True, "5", 65536, math.nan], ids=repr)
def test_a_wrong_concurrency_is_refused(concurrency: Any) -> None:
    with pytest.raises(SettingsError, match="the concurrency of @limit must be an int from 1"):
        limit(concurrency)


@pytest.mark.parametrize("rate", [0, -1, math.nan, math.inf, 1e7, 1e-9, True, "100/s"], ids=repr)
def test_a_wrong_rate_is_refused(rate: Any) -> None:
    with pytest.raises(SettingsError, match="the rate of @limit must be a number from 1e-06"):
        limit(rate=rate)


def test_a_limit_of_nothing_is_refused() -> None:
    with pytest.raises(SettingsError, match="needs a concurrency or a rate"):
        limit()


def test_brackets_that_are_missing_are_named() -> None:
    with pytest.raises(SettingsError, match=r"with brackets above .*some_handler"):

        @limit  # type: ignore[arg-type]
        def some_handler() -> None: ...


def test_a_handler_has_its_limit() -> None:
    def handler() -> None: ...

    assert limit_of(limit(5, rate=1)(handler)) == HandlerLimit(5, 1.0)
    assert limit_of(print) is None


@given(rate=st.floats(0.01, 10_000), steps=st.lists(st.floats(0, 3), min_size=1, max_size=200))
def test_no_more_begin_than_the_rate_allows(rate: float, steps: list[float]) -> None:
    clock = Clock()
    bucket, began, taken = TokenBucket(rate, clock), clock.now, 0
    for step in steps:
        while taken < 100_000 and bucket.take():
            taken += 1
        clock.now += step
    assert taken <= 1 + rate * BURST + rate * (clock.now - began) + 1e-3


@given(rate=st.floats(0.01, 10_000), late=st.floats(0, BURST * 0.9))
@example(rate=40.0, late=0.03125)
def test_the_rate_is_reached_although_timers_are_late(rate: float, late: float) -> None:
    clock = Clock()
    bucket, began, taken = TokenBucket(rate, clock), clock.now, 0
    for _ in range(300):
        while bucket.take():
            taken += 1
        clock.now += bucket.pause + late
    assert taken >= 0.95 * rate * (clock.now - began) - 1


def test_a_pause_leads_to_a_token() -> None:
    clock = Clock()
    bucket = TokenBucket(3, clock)
    assert bucket.take()
    assert not bucket.take()
    clock.now += bucket.pause
    assert bucket.take()
