"""The drift of a level, and what is noise.

The levels of these tests are kilobytes, one a minute, of a run of half an hour without its first
quarter; its load is 15,000 messages a minute.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from itertools import accumulate

import pytest

from tests.faults.growth import drift

LEVELS = 23
MESSAGES = 15_000
SEEDS = range(200)


def scatter(chance: random.Random) -> list[float]:
    """Independent values about one level."""
    return [chance.gauss(0, 30) for _ in range(LEVELS)]


def walk(chance: random.Random) -> list[float]:
    """A random walk."""
    return list(accumulate(chance.gauss(0, 30) for _ in range(LEVELS)))


def tied(chance: random.Random) -> list[float]:
    """A random walk that returns to its level."""
    return list(accumulate((chance.gauss(0, 60) for _ in range(LEVELS)), lambda x, d: 0.8 * x + d))


def bursts(chance: random.Random) -> list[float]:
    """A level that is higher now and then."""
    return [chance.choice([0.0, 0.0, 0.0, 100.0]) for _ in range(LEVELS)]


NOISES = [scatter, walk, tied, bursts]


def share_found(noise: Callable[[random.Random], list[float]], leak: float = 0.0) -> float:
    """Return the share of series of *noise* in which a *leak*, in kB a minute, was found."""
    found = 0
    for seed in SEEDS:
        levels = noise(random.Random(seed))
        found += not drift([level + leak * at for at, level in enumerate(levels)]).is_noise
    return found / len(SEEDS)


def test_the_drift_of_a_line_is_exact() -> None:
    found = drift([3.0 + 2.0 * at for at in range(10)])
    assert found.value == pytest.approx(2.0)
    assert found.error == pytest.approx(0.0)
    assert not found.is_noise


def test_a_constant_or_falling_level_is_no_leak() -> None:
    assert drift([100.0] * 10).is_noise
    assert drift([100.0 - at for at in range(10)]).is_noise


@pytest.mark.parametrize("noise", NOISES)
def test_noise_is_noise(noise: Callable[[random.Random], list[float]]) -> None:
    assert share_found(noise) <= 0.03


@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize("each", [5, 30])
def test_a_leak_of_5_bytes_a_message_is_found_in_any_noise(
    noise: Callable[[random.Random], list[float]], each: int
) -> None:
    assert share_found(noise, each * MESSAGES / 1000) == 1.0


@pytest.mark.parametrize("at", range(1, LEVELS))
@pytest.mark.parametrize("height", [1.0, 600.0])
def test_one_step_is_no_leak_wherever_it_is(at: int, height: float) -> None:
    found = drift([0.0] * at + [height] * (LEVELS - at))
    assert found.is_noise
    assert found.value == pytest.approx(found.error)


def steps(every: int) -> Iterator[float]:
    """Return the levels of a leak of one block *every* few minutes."""
    return (1000.0 * (at // every) for at in range(LEVELS))


@pytest.mark.parametrize("every", [1, 2, 3])
def test_repeated_steps_are_a_leak(every: int) -> None:
    assert not drift(list(steps(every))).is_noise


def test_the_detectable_drift_is_the_smallest_that_is_found() -> None:
    levels = scatter(random.Random(1))
    level = drift(levels)
    for factor, is_noise in ((0.99, True), (1.01, False)):
        leak = level.detectable * factor - level.value
        assert drift([value + leak * at for at, value in enumerate(levels)]).is_noise is is_noise
