"""Tells whether something that a process holds grows with each message.

How it works
------------
What a process holds does not scatter about a line.  It keeps its level, moves when something
happens (a pool has one more greenlet, a heap one more page), and keeps the new level.  So the
residuals of a fitted line are not independent: the standard error of least squares is many times
too small, and one step in the middle of n samples is a slope of 1.7 * sqrt(n) standard errors.

At most the *changes* from one level to the next are independent.  Their mean is the drift, and the
standard error of that mean is its error: we ask whether this is a random walk with a drift or
without one.  One step, however high, is 1 standard error.  m equal steps are at least sqrt(m)
standard errors.  If the level does scatter, each change that is too high is followed by one that is
too low; that makes the error larger than it is, never smaller.  `Drift.detectable` says what this
costs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from statistics import fmean, stdev
from typing import NamedTuple

CERTAINTY = 2.5
"""The standard errors by which a drift must exceed 0: of series with 20 changes and without a
drift, one in 100 does so (Student's t, one side)."""


class Drift(NamedTuple):
    """The mean change from one level to the next, and its standard error."""

    value: float
    error: float

    @property
    def detectable(self) -> float:
        """The smallest drift that would have been told from noise."""
        return CERTAINTY * self.error

    @property
    def is_noise(self) -> bool:
        """Whether the drift might as well be 0 or less."""
        return self.value <= self.detectable


def drift(levels: Sequence[float]) -> Drift:
    """Return the drift of *levels*, at least three, at equal distances in time."""
    changes = [after - before for before, after in pairwise(levels)]
    return Drift(fmean(changes), stdev(changes) / math.sqrt(len(changes)))


def growth_of(
    what: str, levels: Sequence[float], *, messages: float, limit: float, is_peak: bool = False
) -> tuple[str, str | None]:
    """Tell by how much *levels* grow, with so many *messages* from each level to the next.

    Return an account, and a fault: they do grow, or the run is too noisy to rule out a drift of
    *limit* for each message.  A peak (*is_peak*) is a high-water mark, which never falls and so
    always drifts, ever more slowly; only the limit counts for it.
    """
    found = drift([level / messages for level in levels])
    most = found.value + found.detectable
    account = f"{what}: {found.value:+.4f} a message, noise up to {found.detectable:.4f}"
    if not found.is_noise and not is_peak:
        return account, f"{what} grow by {found.value:.4f} a message"
    if most >= limit:
        return account, f"{what} may grow by {most:.4f} a message, more than {limit:g}"
    return account, None
