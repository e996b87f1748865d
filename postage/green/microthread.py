"""Microthreads: objects whose ``step()`` a scheduler calls again and again in a greenlet."""

from __future__ import annotations

from collections.abc import Iterator

__all__ = ["MicroThread"]


class MicroThread:
    """Calls ``create()`` once, and then ``step()`` again and again.

    If ``step()`` raises `StopIteration`, this microthread ends; `ExitScheduler` ends the whole
    scheduler.
    """

    def create(self) -> None:
        """Override: runs once, when the microthread is added to a scheduler."""

    def step(self) -> None:
        """Override: runs again and again; may block, because others run meanwhile."""

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
