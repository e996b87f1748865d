"""Whether something that a process holds grows by the message.  Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tests.faults.drift import drift

__all__ = ["Growth"]


@dataclass(frozen=True, kw_only=True)
class Growth:
    """The drift of what is held, over the messages that were sent meanwhile."""

    what: str
    value: float
    """By the message."""
    finest: float
    """The least that would be more than noise."""
    limit: float
    """What must be ruled out: a run that is too noisy to do so shows nothing."""
    is_mark: bool
    """A high-water mark.  It never falls, so it drifts however steady all is, ever more slowly;
    for this the limit alone is judge."""

    @classmethod
    def of(
        cls,
        what: str,
        levels: Sequence[float],
        *,
        messages: float,
        limit: float,
        is_mark: bool = False,
    ) -> Growth:
        """Return that of *levels*, with so many *messages* from each to the next."""
        found = drift([level / messages for level in levels])
        return cls(what=what, value=found.value, finest=found.finest, limit=limit, is_mark=is_mark)

    def __str__(self) -> str:
        return f"{self.what}: {self.value:+.4f} by the message, noise up to {self.finest:.4f}"

    @property
    def fault(self) -> str | None:
        """Say what is wrong with it, if anything is."""
        if self.value > self.finest and not self.is_mark:
            return f"{self.what} grow by {self.value:.4f} a message"
        most = self.value + self.finest
        if most >= self.limit:
            return f"{self.what} may grow by {most:.4f} a message, more than {self.limit:g}"
        return None
