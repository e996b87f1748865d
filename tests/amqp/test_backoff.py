"""The pauses between tries to connect."""

from __future__ import annotations

from itertools import accumulate, pairwise

from hypothesis import given
from hypothesis import strategies as st

from postage.green.amqp.backoff import FIRST, LONGEST, Backoff

draws = st.lists(st.floats(0, 1, exclude_max=True), min_size=1, max_size=100)


@given(draws)
def test_every_pause_is_within_its_bound_and_the_bounds_grow(drawn: list[float]) -> None:
    numbers = iter(drawn)
    backoff = Backoff(lambda: next(numbers))
    bounds, pauses = [backoff.bound], []
    for _ in drawn:
        pauses.append(backoff.pause())
        bounds.append(backoff.bound)
    assert pauses == [draw * bound for draw, bound in zip(drawn, bounds, strict=False)]
    assert bounds[0] == FIRST
    assert all(before <= after <= LONGEST for before, after in pairwise(bounds))


@given(draws)
def test_reset_starts_again_with_short_pauses(drawn: list[float]) -> None:
    numbers = iter(drawn)
    backoff = Backoff(lambda: next(numbers))
    for _ in drawn:
        backoff.pause()
    backoff.reset()
    assert backoff.bound == FIRST


def test_pauses_are_short_at_first_and_long_in_a_long_outage() -> None:
    backoff = Backoff(lambda: 0.5)  # an average draw
    bounds = [backoff.bound]
    ends = list(
        accumulate(backoff.pause() for _ in range(100) if bounds.append(backoff.bound) is None)
    )
    after_ten = next(bound for bound, end in zip(bounds, ends, strict=False) if end > 10)
    assert after_ten < 5
    assert bounds[-1] == LONGEST
    assert sum(end < 60 for end in ends) < 40


def test_the_draws_are_spread_over_the_whole_pause() -> None:
    firsts = [Backoff().pause() for _ in range(1000)]
    assert min(firsts) < 0.1 * FIRST
    assert max(firsts) > 0.9 * FIRST
