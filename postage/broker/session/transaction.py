"""What a channel holds back until its transaction is committed (AMQP 0-9-1, class tx)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

__all__ = ["Transaction"]

Held = TypeVar("Held")


class Transaction(Generic[Held]):
    """Publishes, acks, nacks and rejects that wait; *Held* is one unacknowledged delivery."""

    def __init__(self) -> None:
        self._publishes: list[Callable[[], None]] = []
        self._acks: list[tuple[Callable[[list[Held]], None], dict[int, Held]]] = []

    def add_publish(self, publish: Callable[[], None]) -> None:
        """Hold *publish* back."""
        self._publishes.append(publish)

    def add_ack(self, action: Callable[[list[Held]], None], held: dict[int, Held]) -> None:
        """Hold back *action* on the deliveries *held*, which are given by tag."""
        self._acks.append((action, held))

    def commit(self) -> None:
        """Carry out what was held back: publishes before acks, as RabbitMQ does."""
        publishes, self._publishes = self._publishes, []
        acks, self._acks = self._acks, []
        for publish in publishes:
            publish()
        for action, held in acks:
            action(list(held.values()))

    def roll_back(self) -> dict[int, Held]:
        """Discard what was held back; return the deliveries that are unacknowledged again."""
        acks, self._acks = self._acks, []
        self._publishes.clear()
        return {tag: each for _, held in acks for tag, each in held.items()}
