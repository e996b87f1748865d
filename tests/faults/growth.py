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
from dataclasses import dataclass
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


@dataclass(frozen=True, kw_only=True)
class Growth:
    """The drift of *what* for each message, and the *limit* that must be ruled out."""

    what: str
    drift: Drift
    limit: float
    is_peak: bool
    """Whether it is a high-water mark, which never falls and so always drifts, ever more slowly.
    Then only the limit counts."""

    @classmethod
    def of(
        cls,
        what: str,
        levels: Sequence[float],
        *,
        messages: float,
        limit: float,
        is_peak: bool = False,
    ) -> Growth:
        """Return the growth of *levels*, with *messages* messages from each level to the next."""
        found = drift([level / messages for level in levels])
        return cls(what=what, drift=found, limit=limit, is_peak=is_peak)

    def __str__(self) -> str:
        value, detectable = self.drift.value, self.drift.detectable
        return f"{self.what}: {value:+.4f} a message, noise up to {detectable:.4f}"

    @property
    def fault(self) -> str | None:
        """The text of what is wrong; a run too noisy to rule out the limit is wrong, too."""
        if not self.drift.is_noise and not self.is_peak:
            return f"{self.what} grow by {self.drift.value:.4f} a message"
        most = self.drift.value + self.drift.detectable
        if most >= self.limit:
            return f"{self.what} may grow by {most:.4f} a message, more than {self.limit:g}"
        return None
