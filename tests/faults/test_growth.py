"""A leak with each message is found, however small; a steady process has none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import pytest

from tests.faults.growth import growth_of

MESSAGES = 29_000
"""In a minute, including calls."""

# One value a minute of a run on a busy machine: kilobytes of malloc, blocks, resident kilobytes.
_MALLOC = 7857, 7855, 7866, 7864, 7865, 7869, 7875, 7869, 7871, 7869, 7866, 7865, 7870, 7867
_BLOCKS = 5788, 5353, 5983, 5829, 5754, 5996, 6461, 5767, 5857, 5919, 5687, 5632, 5985, 5675
_RESIDENT = 2512, 2555, 2574, 2566, 2586, 2591, 2606, 2608, 2619, 2636, 2663, 2720, 2721, 2721
MALLOC = [1e3 * each for each in _MALLOC]
BLOCKS = [150e3 + each for each in _BLOCKS]
RESIDENT = [40e6 + 1e3 * each for each in _RESIDENT]

of_malloc = partial(growth_of, "bytes of malloc", messages=MESSAGES, limit=1.0)
of_blocks = partial(growth_of, "blocks", messages=MESSAGES, limit=0.1)
of_resident = partial(growth_of, "bytes resident", messages=MESSAGES, limit=1.0, is_peak=True)


Judge = Callable[[Sequence[float]], tuple[str, str | None]]


def leaking(levels: Sequence[float], by_the_message: float) -> list[float]:
    return [level + at * by_the_message * MESSAGES for at, level in enumerate(levels)]


@pytest.mark.parametrize(
    ("growth", "levels"), [(of_malloc, MALLOC), (of_blocks, BLOCKS), (of_resident, RESIDENT)]
)
def test_a_steady_process_does_not_grow(growth: Judge, levels: list[float]) -> None:
    assert growth(levels)[1] is None


@pytest.mark.parametrize(
    ("growth", "levels", "leak"),
    [
        *((of_malloc, MALLOC, leak) for leak in (0.3, 1.0, 30.0)),
        *((of_blocks, BLOCKS, leak) for leak in (0.05, 1.0)),
        *((of_resident, RESIDENT, leak) for leak in (1.0, 30.0)),
    ],
)
def test_a_leak_with_each_message_is_growth(
    growth: Judge, levels: list[float], leak: float
) -> None:
    _, fault = growth(leaking(levels, leak))
    assert fault is not None
    assert "grow by" in fault


def test_a_step_is_no_growth_but_a_high_one_could_hide_it() -> None:
    def stepping(height: float) -> str | None:
        return of_malloc([level + height * (at > 9) for at, level in enumerate(MALLOC)])[1]

    assert stepping(50_000) is None
    assert (stepping(545_000) or "").startswith("bytes of malloc may grow by")


def test_noise_that_could_hide_a_leak_is_a_fault() -> None:
    noise = [100_000 * (-1) ** at for at in range(22)]
    assert of_malloc(noise)[1] is not None


def test_only_a_peak_may_creep() -> None:
    creeping = [4096 * at for at in range(22)]
    assert of_resident(creeping)[1] is None
    assert of_malloc(creeping)[1] is not None
