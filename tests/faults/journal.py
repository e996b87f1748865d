"""The journal of a run: what became of each message and call; bounded, however long it lasts."""

from __future__ import annotations

import enum
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

State = enum.Enum("State", "SENT CONFIRMED REFUSED HANDLED")
"""The state of a message of which the publish or the handling is still to come."""

MAX_UNEXPECTED = 20
"""How many different unexpected errors are kept."""
MAX_FAILURES = 10_000


@dataclass(kw_only=True)
class Journal:
    """The figures of a run.  Durations are in seconds, memory is in bytes.

    Messages are known by publisher and number.  A message is removed when both its publish and its
    handler have ended.  A later delivery of it is a duplicate.
    """

    title: str = ""
    clock: Callable[[], float] = time.monotonic
    open_messages: dict[tuple[int, int], State] = field(default_factory=dict)
    next_numbers: defaultdict[int, int] = field(default_factory=lambda: defaultdict(int))
    last_active: dict[str, float] = field(default_factory=dict)  # when, by processor
    sent: int = 0
    confirmed: int = 0
    refused: int = 0  # publishes that raised an error: the broker may have the message or not
    handled: int = 0  # each message is counted once
    duplicates: int = 0
    deleted: int = 0  # confirmed messages that a fault has deleted together with their queue
    calls: Counter[str] = field(default_factory=Counter)  # by outcome
    successes: Counter[str] = field(default_factory=Counter)  # of each publisher and caller
    latest: dict[str, float] = field(default_factory=dict)  # when the last of them began, by sender
    failures: list[float] = field(default_factory=list)  # when the latest of them began
    longest_wait: float = 0.0  # of a publish or a call
    overdue: float = float("-inf")  # the longest wait beyond its own limit
    unexpected: Counter[str] = field(default_factory=Counter)  # errors that no fault explains
    lateness: float = 0.0  # the longest delay of a timer: how busy the machine or a handler was
    # Of the whole run, by `fault_run`:
    duration: float = 0.0
    unfinished: int = 0  # senders that still waited when all limits were over
    recovery: float = 0.0  # from the end of a fault until all works (`fault_run.inject`), or inf
    recovered: float = 0.0  # when the last recovery ended
    failures_after: int = 0  # publishes and calls that began after the recovery and failed
    sockets: int = 0  # connections to the broker before they were closed
    greenlets: tuple[str, ...] = ()  # left after everything was stopped and closed
    memory_before: int = 1
    memory_after: int = 1

    @property
    def growth(self) -> float:
        """The growth of the memory, as a fraction of the memory before."""
        return self.memory_after / self.memory_before - 1

    def send(self, publisher: int) -> int:
        """Return the number of the next message of *publisher*."""
        number = self.next_numbers[publisher]
        self.announce(publisher, number + 1)
        self.sent += 1
        return number

    def announce(self, publisher: int, end: int) -> None:
        """Expect the messages of *publisher* with numbers below *end*, sent or not."""
        for number in range(self.next_numbers[publisher], end):
            self.open_messages[publisher, number] = State.SENT
        self.next_numbers[publisher] = end

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
        self.last_active[processor] = self.clock()

    def all_active_since(self, processors: Iterable[str]) -> float:
        """Return the earliest of the times at which *processors* were last active."""
        return min(self.last_active.get(name, float("-inf")) for name in processors)

    def missing(self) -> list[tuple[int, int]]:
        """Return the messages that are confirmed and not handled so far."""
        return [key for key, state in self.open_messages.items() if state is State.CONFIRMED]

    @property
    def lost(self) -> int:
        """The number of `missing` messages that no fault has deleted."""
        return max(0, len(self.missing()) - self.deleted)

    def end_wait(self, sender: str, began: float, limit: float, *, success: bool) -> None:
        """Note the end of a publish or call of *sender*, which may have taken *limit* seconds."""
        took = self.clock() - began
        self.longest_wait = max(self.longest_wait, took)
        self.overdue = max(self.overdue, took - limit)
        if success:
            self.successes[sender] += 1
            self.latest[sender] = began
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
