"""The slope of a line through samples, and how sure one can be of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

SURE = 2.0
"""How many standard errors a slope must be above 0 to be no noise."""


class Slope(NamedTuple):
    """Per unit of time; *error* is its standard error."""

    value: float
    error: float

    @property
    def is_noise(self) -> bool:
        """Whether it might as well be 0, or falls."""
        return self.value <= SURE * self.error


def slope(samples: Sequence[tuple[float, float]]) -> Slope:
    """Return the least-squares slope of *samples*, at least three pairs of time and value."""
    count = len(samples)
    mean_x, mean_y = (sum(column) / count for column in zip(*samples, strict=True))
    spread = sum((x - mean_x) ** 2 for x, _ in samples)
    value = sum((x - mean_x) * (y - mean_y) for x, y in samples) / spread
    rest = sum((y - mean_y - value * (x - mean_x)) ** 2 for x, y in samples)
    return Slope(value, math.sqrt(rest / (count - 2) / spread))
