"""The drift of a level: how fast it moves for good, and how sure one can be of it.

What a process holds does not scatter about a line.  It stays where it is, moves when something
happens (a pool has one more greenlet, a heap one more page), and stays there.  So what a fitted
line leaves over is not independent from sample to sample: the standard error of least squares
comes out many times too small, and for one step in the middle of n samples it finds a slope of
1.7 * sqrt(n) standard errors.

Independent are, at the most, the *changes* from one level to the next.  Their mean is the drift,
and its error the standard error of a mean: the question is whether this is a random walk with a
drift, or without.  One step, however high, is its own error then: 1 standard error.  Steps that
go on are a drift: m equal ones are sqrt(m) errors or more, in a direction that does not change.
Where the level does scatter, each change that is too high is followed by one that is too low; that
makes the error larger than it is, never smaller.  What this costs is told by `Drift.finest`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from statistics import fmean, stdev
from typing import NamedTuple

SURE = 2.5
"""How many standard errors a drift must be above 0 to be no noise: of 20 changes without a drift
(Student's t, one side), one series in 100 is that far off."""


class Drift(NamedTuple):
    """The change from one level to the next; *error* is its standard error."""

    value: float
    error: float

    @property
    def is_noise(self) -> bool:
        """Whether it might as well be 0, or falls."""
        return self.value <= self.finest

    @property
    def finest(self) -> float:
        """The smallest drift that would not have passed for noise."""
        return SURE * self.error


def drift(levels: Sequence[float]) -> Drift:
    """Return the drift of *levels*, at least three, equally far apart in time."""
    changes = [after - before for before, after in pairwise(levels)]
    return Drift(fmean(changes), stdev(changes) / math.sqrt(len(changes)))
