"""How a cost grows with a number: the measured costs, and the fitted power.  Pure."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

STEEPER = 1.15
"""From this exponent on a line is called steeper than linear.  Smaller excesses come from memory
that no cache holds: a third more per item for ten times as many items."""
RANGE = 100
"""The exponent is fitted to the largest numbers, down to the largest divided by this.  With small
numbers the cost of single objects, such as the connection, would dominate."""


class Point(NamedTuple):
    """The cost of *count* items."""

    count: int
    cpu: float
    """Seconds of CPU time for all items."""
    wall: float
    """Seconds for all items; 0 if that says nothing."""

    @property
    def each(self) -> float:
        """Microseconds of CPU time for each item."""
        return self.cpu / self.count * 1e6

    @property
    def each_wall(self) -> float:
        """Microseconds for each item."""
        return self.wall / self.count * 1e6


@dataclass(frozen=True)
class Series:
    """One line: a cost, with its value for each number."""

    title: str
    points: Sequence[Point]

    @property
    def exponent(self) -> float | None:
        """The power of the number by which the total grows (1: linear); None for too few points."""
        most = max((point.count for point in self.points), default=0)
        counted = [point for point in self.points if point.count * RANGE >= most]
        logs = [(math.log(p.count), math.log(p.cpu)) for p in counted if p.cpu > 0]
        if len(logs) < 2:  # noqa: PLR2004 - a line has two ends
            return None
        return statistics.linear_regression(*zip(*logs, strict=True)).slope

    @property
    def is_steeper(self) -> bool:
        """Whether the total grows faster than the number."""
        return (self.exponent or 0.0) > STEEPER


def median(points: Sequence[Point]) -> Point:
    """Return the median of several points of the same count."""
    cpu, wall = (statistics.median(values) for values in list(zip(*points, strict=True))[1:])
    return Point(points[0].count, cpu, wall)
