"""The clock of a virtual host: it goes like the real one, and a test can turn it ahead."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postage.broker.core.clock import ManualTimers, TurnableTimers

#: Whole seconds, whose sums are exact.
moments = st.lists(st.integers(0, 50), max_size=8)


@pytest.fixture
def real() -> ManualTimers:
    return ManualTimers()


@pytest.fixture
def clock(real: ManualTimers) -> TurnableTimers:
    return TurnableTimers(real)


def noting(clock: TurnableTimers, calls: list[tuple[str, float]], name: str) -> Callable[[], None]:
    return lambda: calls.append((name, clock.now()))


def test_it_goes_like_the_real_clock(real: ManualTimers, clock: TurnableTimers) -> None:
    calls: list[tuple[str, float]] = []
    clock.later(5, noting(clock, calls, "a"))

    real.advance(4)
    assert (clock.now(), clock.wall(), calls) == (4, real.wall(), [])
    real.advance(1)

    assert calls == [("a", 5)]
    assert not clock.pending


def test_turning_makes_the_calls_in_order_at_their_times(clock: TurnableTimers) -> None:
    calls: list[tuple[str, float]] = []
    for name, seconds in (("c", 30), ("a", 10), ("d", 31), ("b", 10)):
        clock.later(seconds, noting(clock, calls, name))

    clock.advance(30)

    assert calls == [("a", 10), ("b", 10), ("c", 30)]
    assert clock.now() == 30


def test_what_is_left_waits_for_the_rest_of_its_time(
    real: ManualTimers, clock: TurnableTimers
) -> None:
    calls: list[tuple[str, float]] = []
    clock.later(100, noting(clock, calls, "a"))

    clock.advance(90)
    real.advance(9)
    assert calls == []
    real.advance(1)

    assert calls == [("a", 100)]
    assert clock.wall() == real.wall() + 90


def test_a_call_may_start_more_calls(clock: TurnableTimers) -> None:
    calls: list[tuple[str, float]] = []

    def chain() -> None:
        noting(clock, calls, "chain")()
        clock.later(40, chain)

    clock.later(40, chain)
    clock.advance(100)

    assert calls == [("chain", 40), ("chain", 80)]
    assert clock.now() == 100


def test_a_call_may_cancel_another_that_is_due(clock: TurnableTimers) -> None:
    calls: list[tuple[str, float]] = []
    later = clock.later(2, noting(clock, calls, "later"))
    clock.later(1, later.cancel)

    clock.advance(5)
    later.cancel()

    assert calls == []
    assert not clock.pending


def test_after_an_error_the_clock_is_turned_all_the_same(
    real: ManualTimers, clock: TurnableTimers
) -> None:
    calls: list[tuple[str, float]] = []
    clock.later(1, partial(calls.pop, 0))  # from an empty list
    clock.later(2, noting(clock, calls, "after"))

    with pytest.raises(IndexError):
        clock.advance(3)
    real.advance(0)

    assert calls == [("after", 3)]


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 20)), max_size=8), moments)
def test_whoever_turns_it_each_call_has_its_time(
    turns: list[tuple[bool, int]], delays: list[int]
) -> None:
    """However the time passes, really or by turning, each timer is called once, and never early."""
    real = ManualTimers()
    clock = TurnableTimers(real)
    calls: list[int] = []
    passed = 0
    for delay in delays:
        clock.later(delay, lambda delay=delay: calls.append(delay))  # type: ignore[misc]

    for really, seconds in turns:
        (real if really else clock).advance(seconds)
        passed += seconds
        assert clock.now() == passed
        assert sorted(calls) == sorted(each for each in delays if each <= passed)

    assert len(clock.pending) == len(delays) - len(calls)
