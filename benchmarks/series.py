"""How a cost grows with a number: what so many came to, and by which power.  Pure."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

STEEPER = 1.15
"""From this exponent on a line is called steeper than linear.  Between, it is what memory costs
that no cache holds: per item a third more for ten times as many, and no more than that."""
RANGE = 100
"""The exponent is that of the largest numbers, down to this part of them: with few, it is what is
there once, as a connection, that counts."""


class Point(NamedTuple):
    """What *count* of something came to."""

    count: int
    cpu: float
    """Seconds of CPU time, for all."""
    wall: float
    """Seconds, for all; 0 where that says nothing."""

    @property
    def each(self) -> float:
        """Microseconds of CPU time for each."""
        return self.cpu / self.count * 1e6

    @property
    def each_wall(self) -> float:
        """Microseconds for each."""
        return self.wall / self.count * 1e6


@dataclass(frozen=True)
class Series:
    """One line: a cost, and what it came to for each number."""

    title: str
    points: Sequence[Point]

    @property
    def exponent(self) -> float | None:
        """By which power of the number all of it grows: 1 is linear; None where too few count."""
        most = max((point.count for point in self.points), default=0)
        counted = [point for point in self.points if point.count * RANGE >= most]
        logs = [(math.log(p.count), math.log(p.cpu)) for p in counted if p.cpu > 0]
        if len(logs) < 2:  # noqa: PLR2004 - a line has two ends
            return None
        return statistics.linear_regression(*zip(*logs, strict=True)).slope

    @property
    def is_steeper(self) -> bool:
        """Whether it grows faster than the number."""
        return (self.exponent or 0.0) > STEEPER


def median(points: Sequence[Point]) -> Point:
    """Return the median of several points of the same count."""
    cpu, wall = (statistics.median(values) for values in list(zip(*points, strict=True))[1:])
    return Point(points[0].count, cpu, wall)
