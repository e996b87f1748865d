"""The consumers of a queue, and whose turn it is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from postage.broker.core.entry import Entry
    from postage.broker.core.queue import Queue

__all__ = ["Consumer", "Consumers"]


class Consumer(Protocol):
    """Who takes messages from a queue."""

    priority: int
    exclusive: bool

    def is_ready(self) -> bool:
        """Whether it takes one more now."""

    def deliver(self, queue: Queue, entry: Entry) -> bool:
        """Take *entry*; return whether it is to be kept until it is settled."""

    def cancelled(self) -> None:
        """The queue is gone."""


class Consumers:
    """Consumers by priority, and in turn among those of the same.

    One that was asked and could not take a message waits outside; when it can again, its turn comes
    after that of the others (so does RabbitMQ).  *single*: one alone is served until it goes.
    """

    def __init__(self, *, single: bool) -> None:
        self._single = single
        self._active: Consumer | None = None
        """The one that is served, where it is one alone."""
        self._turn: list[Consumer] = []
        self._waiting: list[Consumer] = []

    def __len__(self) -> int:
        return len(self._turn) + len(self._waiting)

    def __iter__(self) -> Iterator[Consumer]:
        return iter((*self._turn, *self._waiting))

    def add(self, consumer: Consumer) -> None:
        """Serve *consumer* from now on."""
        self._line_up(consumer)
        if self._active is None:
            self._active = consumer

    def _line_up(self, consumer: Consumer) -> None:
        at = len(self._turn)
        while at and self._turn[at - 1].priority < consumer.priority:
            at -= 1
        self._turn.insert(at, consumer)

    def remove(self, consumer: Consumer) -> None:
        """Serve *consumer* no more."""
        for place in (self._turn, self._waiting):
            if consumer in place:
                place.remove(consumer)
        if self._active is consumer:
            self._active = next(iter(self), None)

    def next(self) -> Consumer | None:
        """Return the one that takes the next message; None: nobody can now."""
        if self._single:
            return self._active if self._active is not None and self._active.is_ready() else None
        while self._turn:
            consumer = self._turn[0]
            if consumer.is_ready():
                if len(self._turn) > 1:
                    self._line_up(self._turn.pop(0))
                return consumer
            self._waiting.append(self._turn.pop(0))
        return None

    def wake(self) -> None:
        """Let those that can take messages again join in."""
        if not self._waiting:
            return
        for consumer in [each for each in self._waiting if each.is_ready()]:
            self._waiting.remove(consumer)
            self._line_up(consumer)
