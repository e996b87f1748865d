"""The drift of a level, and what is noise.

The levels of these tests are kilobytes, one a minute, of a run of half an hour without its first
quarter; its load is 15,000 messages a minute.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from itertools import accumulate

import pytest

from tests.faults.drift import drift

LEVELS = 23
MESSAGES = 15_000
SEEDS = range(200)


def scatter(chance: random.Random) -> list[float]:
    """About one level, each for itself."""
    return [chance.gauss(0, 30) for _ in range(LEVELS)]


def walk(chance: random.Random) -> list[float]:
    """From wherever it is, either way."""
    return list(accumulate(chance.gauss(0, 30) for _ in range(LEVELS)))


def tied(chance: random.Random) -> list[float]:
    """Either way, and the further off the sooner back."""
    return list(accumulate((chance.gauss(0, 60) for _ in range(LEVELS)), lambda x, d: 0.8 * x + d))


def bursts(chance: random.Random) -> list[float]:
    """Now and then something is under way."""
    return [chance.choice([0.0, 0.0, 0.0, 100.0]) for _ in range(LEVELS)]


NOISES = [scatter, walk, tied, bursts]


def convicted(noise: Callable[[random.Random], list[float]], leak: float = 0.0) -> float:
    """Return in which part of many series of *noise* a *leak* was found, in kB a minute."""
    found = 0
    for seed in SEEDS:
        levels = noise(random.Random(seed))
        found += not drift([level + leak * at for at, level in enumerate(levels)]).is_noise
    return found / len(SEEDS)


def test_of_a_line_it_is_exact() -> None:
    found = drift([3.0 + 2.0 * at for at in range(10)])
    assert found.value == pytest.approx(2.0)
    assert found.error == pytest.approx(0.0)
    assert not found.is_noise


def test_what_stays_or_falls_is_no_leak() -> None:
    assert drift([100.0] * 10).is_noise
    assert drift([100.0 - at for at in range(10)]).is_noise


@pytest.mark.parametrize("noise", NOISES)
def test_noise_is_noise(noise: Callable[[random.Random], list[float]]) -> None:
    assert convicted(noise) <= 0.03


@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize("each", [5, 30])
def test_a_leak_of_a_few_bytes_a_message_is_found_in_any_noise(
    noise: Callable[[random.Random], list[float]], each: int
) -> None:
    assert convicted(noise, each * MESSAGES / 1000) == 1.0


@pytest.mark.parametrize("at", range(1, LEVELS))
@pytest.mark.parametrize("height", [1.0, 600.0])
def test_one_step_is_no_leak_wherever_it_is(at: int, height: float) -> None:
    found = drift([0.0] * at + [height] * (LEVELS - at))
    assert found.is_noise
    assert found.value == pytest.approx(found.error)


def steps(every: int) -> Iterator[float]:
    """Yield the levels of what leaks a block whenever some minutes are over."""
    return (1000.0 * (at // every) for at in range(LEVELS))


@pytest.mark.parametrize("every", [1, 2, 3])
def test_steps_that_go_on_are_a_leak(every: int) -> None:
    assert not drift(list(steps(every))).is_noise


def test_the_finest_drift_is_the_smallest_that_is_found() -> None:
    levels = scatter(random.Random(1))
    level = drift(levels)
    for factor, is_noise in ((0.99, True), (1.01, False)):
        leak = level.finest * factor - level.value
        assert drift([value + leak * at for at, value in enumerate(levels)]).is_noise is is_noise
