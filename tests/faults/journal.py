"""The journal of a load: what became of each message and call; bounded, however long it lasts."""

from __future__ import annotations

import enum
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable

State = enum.Enum("State", "SENT CONFIRMED REFUSED HANDLED")
"""The state of a message of which the publish or the handling is still to come."""

MAX_UNEXPECTED = 20
"""How many different unexpected errors are kept."""
MAX_FAILURES = 10_000


class Journal:
    """Messages are known by publisher and number.

    A message is removed when both its publish and its handler have ended.  A later delivery of it
    is a duplicate.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.open_messages: dict[tuple[int, int], State] = {}
        self._next: defaultdict[int, int] = defaultdict(int)
        self.sent = self.confirmed = self.refused = self.handled = self.duplicates = 0
        self.deleted = 0
        """Confirmed messages that a fault has deleted together with their queue."""
        self.calls: Counter[str] = Counter()
        """Calls by outcome."""
        self.successes: Counter[str] = Counter()
        """Successes of each publisher and caller."""
        self.failures: list[float] = []
        """When each failed publish and call began; the latest `MAX_FAILURES`."""
        self.longest_wait, self.overdue = 0.0, float("-inf")
        self.unexpected: Counter[str] = Counter()
        self._last_active: dict[str, float] = {}

    def send(self, publisher: int) -> int:
        """Return the number of the next message of *publisher*."""
        number = self._next[publisher]
        self.announce(publisher, number + 1)
        self.sent += 1
        return number

    def announce(self, publisher: int, end: int) -> None:
        """Expect the messages of *publisher* with numbers below *end*, sent or not."""
        for number in range(self._next[publisher], end):
            self.open_messages[publisher, number] = State.SENT
        self._next[publisher] = end

    def confirm(self, publisher: int, number: int) -> None:
        """Note that the broker has taken the message."""
        self.confirmed += 1
        self._end_publish((publisher, number), State.CONFIRMED)

    def refuse(self, publisher: int, number: int) -> None:
        """Note that the publish has failed: the broker may have the message or not."""
        self.refused += 1
        self._end_publish((publisher, number), State.REFUSED)

    def _end_publish(self, key: tuple[int, int], state: State) -> None:
        if self.open_messages[key] is State.HANDLED:
            del self.open_messages[key]
        else:
            self.open_messages[key] = state

    def handle(self, publisher: int, number: int, processor: str) -> None:
        """Note that a handler of *processor* has finished the message."""
        self.note_activity(processor)
        key = publisher, number
        state = self.open_messages.get(key, State.HANDLED)
        if state is State.HANDLED:
            self.duplicates += 1
            return
        self.handled += 1
        if state is State.SENT:
            self.open_messages[key] = State.HANDLED
        else:
            del self.open_messages[key]

    def note_activity(self, processor: str) -> None:
        """Note that *processor* has handled a message or answered a call."""
        self._last_active[processor] = self._clock()

    def all_active_since(self, processors: Iterable[str]) -> float:
        """Return the earliest of the times at which *processors* were last active."""
        return min(self._last_active.get(name, float("-inf")) for name in processors)

    def missing(self) -> list[tuple[int, int]]:
        """Return the messages that are confirmed and not handled so far."""
        return [key for key, state in self.open_messages.items() if state is State.CONFIRMED]

    @property
    def lost(self) -> int:
        """The number of `missing` messages that no fault has deleted."""
        return max(0, len(self.missing()) - self.deleted)

    def end_wait(self, sender: str, began: float, limit: float, *, success: bool) -> None:
        """Note the end of a publish or call of *sender*, which may have taken *limit* seconds."""
        took = self._clock() - began
        self.longest_wait = max(self.longest_wait, took)
        self.overdue = max(self.overdue, took - limit)
        if success:
            self.successes[sender] += 1
        else:
            self.failures.append(began)
            del self.failures[:-MAX_FAILURES]

    def failures_since(self, moment: float) -> int:
        """Return how many publishes and calls that began after *moment* have failed."""
        return sum(began > moment for began in self.failures)

    def add_unexpected(self, error: str) -> None:
        """Count an error that Postage does not document."""
        if error in self.unexpected or len(self.unexpected) < MAX_UNEXPECTED:
            self.unexpected[error] += 1
