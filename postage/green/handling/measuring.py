"""What the handlers of a processor have done, as its program gets it."""

from __future__ import annotations

from functools import cached_property

from postage.handler_statistics import HandlerStatistics, HandlerTallies

__all__ = ["Measuring"]


class Measuring:
    """The part of a processor that counts and times the runs of its handlers."""

    @cached_property
    def _tallies(self) -> HandlerTallies:
        return HandlerTallies()

    def handler_statistics(self) -> tuple[HandlerStatistics, ...]:
        """Return a snapshot of each handler that has run; never switches."""
        return self._tallies.statistics()
