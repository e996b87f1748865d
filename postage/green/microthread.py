"""Microthreads: things with a ``step()`` that a scheduler runs, each in its own greenlet."""

from __future__ import annotations

from collections.abc import Iterator

from postage.dispatch import After

__all__ = ["MicroThread"]


class MicroThread:
    """Calls ``create()`` once and ``step()`` for ever.

    `StopIteration` out of ``step()`` ends this one, `ExitScheduler` the whole scheduler.
    """

    after: After = After.GO_ON
    """What the scheduler shall do once this one has ended."""

    def create(self) -> None:
        """Override: runs once, when the microthread is added to a scheduler."""

    def step(self) -> None:
        """Override: runs again and again; it may block, others run meanwhile."""

    def main(self) -> Iterator[int]:
        """Run: a generator that yields after ``create()`` and after each step."""
        self.create()
        yield 1
        while True:
            try:
                self.step()
            except StopIteration:
                return
            yield 1

    def stop_consuming(self) -> None:
        """Override: end soon, of your own accord.  What cannot is killed by the scheduler."""
