"""The slope through samples, and what is noise."""

from __future__ import annotations

import random

import pytest

from tests.faults.slope import slope


def test_of_a_line_it_is_exact() -> None:
    found = slope([(x, 3.0 + 2.0 * x) for x in range(10)])
    assert found.value == pytest.approx(2.0)
    assert found.error == pytest.approx(0.0)
    assert not found.is_noise


def test_of_noise_it_is_noise() -> None:
    chance = random.Random(1)
    assert slope([(x, 100.0 + chance.gauss(0, 5)) for x in range(100)]).is_noise


def test_a_leak_in_noise_is_no_noise() -> None:
    chance = random.Random(1)
    found = slope([(x, 100.0 + 0.2 * x + chance.gauss(0, 3)) for x in range(100)])
    assert found.value == pytest.approx(0.2, abs=0.05)
    assert not found.is_noise


def test_what_falls_is_no_leak() -> None:
    assert slope([(x, 100.0 - x) for x in range(10)]).is_noise
