"""What a channel keeps back until its transaction is committed (AMQP 0-9-1, class tx)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

__all__ = ["Transaction"]

Held = TypeVar("Held")


class Transaction(Generic[Held]):
    """Publishes and settlements in waiting; *Held* is what a delivery tag stands for."""

    def __init__(self) -> None:
        self._publishes: list[Callable[[], None]] = []
        self._settlements: list[tuple[Callable[[list[Held]], None], dict[int, Held]]] = []

    def publish(self, step: Callable[[], None]) -> None:
        """Keep a publish back."""
        self._publishes.append(step)

    def settle(self, step: Callable[[list[Held]], None], held: dict[int, Held]) -> None:
        """Keep back what *step* is to do with the deliveries *held*."""
        self._settlements.append((step, held))

    def commit(self) -> None:
        """Do all that was kept back: publishes before settlements, as RabbitMQ does."""
        publishes, self._publishes = self._publishes, []
        settlements, self._settlements = self._settlements, []
        for publish in publishes:
            publish()
        for step, held in settlements:
            step(list(held.values()))

    def roll_back(self) -> dict[int, Held]:
        """Forget all that was kept back; return the deliveries that are unsettled again."""
        settlements, self._settlements = self._settlements, []
        self._publishes.clear()
        return {tag: each for _, held in settlements for tag, each in held.items()}
