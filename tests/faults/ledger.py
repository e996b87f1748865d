"""What the greenlets of a load note down as they go; bounded, however long the load lasts."""

from __future__ import annotations

import enum
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable

State = enum.Enum("State", "SENT CONFIRMED REFUSED HANDLED")
"""Of a message of which something is still to come."""

KEPT = 20
"""How many different surprises are kept."""


class Ledger:
    """Messages are known by publisher and number.  Whoever is done with is forgotten."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._open: dict[tuple[int, int], State] = {}
        self._next: defaultdict[int, int] = defaultdict(int)
        self.sent = self.confirmed = self.refused = self.handled = self.duplicates = 0
        self.unhandled = 0
        """Messages that are confirmed, and have not been handled so far."""
        self.doomed = 0
        """How many of those went with their queue."""
        self.calls: Counter[str] = Counter()
        self.longest = 0.0
        self.overdue = float("-inf")
        self.last: dict[str, float] = {}
        """When each processor has handled something last."""
        self.good: Counter[str] = Counter()
        """How often each publisher and caller has succeeded."""
        self.failures: list[float] = []
        """When each try that failed had begun; see `failures_since`."""
        self.surprises: dict[str, int] = {}

    # --- messages

    def sending(self, publisher: int) -> int:
        """Return the number of the next message of *publisher*."""
        number = self._next[publisher]
        self.announce(publisher, number + 1)
        self.sent += 1
        return number

    def announce(self, publisher: int, end: int) -> None:
        """Know of the messages of *publisher* up to *end*, whether they are sent or not."""
        for number in range(self._next[publisher], end):
            self._open[publisher, number] = State.SENT
        self._next[publisher] = end

    def confirm(self, publisher: int, number: int) -> None:
        """The broker has taken the message."""
        self.confirmed += 1
        if self._open[publisher, number] is State.HANDLED:
            del self._open[publisher, number]
        else:
            self._open[publisher, number] = State.CONFIRMED
            self.unhandled += 1

    def refuse(self, publisher: int, number: int) -> None:
        """The message may have been taken or not."""
        self.refused += 1
        if self._open[publisher, number] is State.HANDLED:
            del self._open[publisher, number]
        else:
            self._open[publisher, number] = State.REFUSED

    def handle(self, publisher: int, number: int, by: str) -> None:
        """A handler of the processor *by* has finished with the message."""
        self.last[by] = self._clock()
        before = self._open.get((publisher, number), State.HANDLED)
        if before is State.HANDLED:
            self.duplicates += 1
            return
        self.handled += 1
        self.unhandled -= before is State.CONFIRMED
        if before is State.SENT:
            self._open[publisher, number] = State.HANDLED
        else:
            del self._open[publisher, number]

    @property
    def lost(self) -> int:
        """Messages that are confirmed and not handled, and should have been."""
        return max(0, self.unhandled - self.doomed)

    def missing(self) -> list[tuple[int, int]]:
        """Return the messages that are confirmed and not handled."""
        return [key for key, state in self._open.items() if state is State.CONFIRMED]

    # --- everybody

    def serve(self, by: str) -> None:
        """The processor *by* has answered a call."""
        self.last[by] = self._clock()

    def wait(self, who: str, began: float, limit: float, *, well: bool) -> None:
        """*who* has waited since *began* for what should have taken *limit* seconds at most."""
        took = self._clock() - began
        self.longest = max(self.longest, took)
        self.overdue = max(self.overdue, took - limit)
        if well:
            self.good[who] += 1
        else:
            self.failures.append(began)
            del self.failures[:-10_000]

    def failures_since(self, moment: float) -> int:
        """Return how many tries that began after *moment* have failed."""
        return sum(began > moment for began in self.failures)

    def surprise(self, what: str) -> None:
        """Note an error that nobody promised."""
        if what in self.surprises or len(self.surprises) < KEPT:
            self.surprises[what] = self.surprises.get(what, 0) + 1

    def latest(self, processors: Iterable[str]) -> float:
        """Return since when each of *processors* has handled something: the laggard's time."""
        return min(self.last.get(name, float("-inf")) for name in processors)
