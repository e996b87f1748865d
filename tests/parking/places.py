"""A queue, its parking queue, and messages in it, as if they had failed."""

from __future__ import annotations

from typing import Any

from postage.testing.polling import wait_until
from tests.support.raw import Raw, Taken, take_all

SOON = 10.0


class Places:
    """The queue `queue` and its parking queue `parked`, both of the type *kind*."""

    def __init__(self, raw: Raw, name: str, kind: str) -> None:
        self.raw, self.kind = raw, kind
        self.queue, self.parked = name, f"{name}.parked"
        for each in (self.queue, self.parked):
            raw.declare(each, arguments={"x-queue-type": kind})

    def headers(self, number: int, **others: Any) -> dict[str, Any]:
        """Return the headers of a dossier; *others* are more of them, without the prefix."""
        told = {
            "why": "failed",
            "queue": self.queue,
            "processor": "Orders",
            "handler": "Orders.order",
            "exchange": "shop",
            "routing-key": "order",
            "exception": "builtins.ValueError",
            "send-id": f"id {number}",
            "attempt": 1,
            **others,
        }
        return {f"x-postage-{name}": value for name, value in told.items()}

    def park(self, count: int, **others: Any) -> None:
        """Put *count* messages into the parking queue, with their numbers as bodies."""
        for number in range(count):
            headers = {**self.headers(number, **others), "x-tenant": "a"}
            self.raw.put(self.parked, b"%d" % number, headers=headers, delivery_mode=2)
        self.wait(self.parked, count)

    def wait(self, queue: str, count: int) -> None:
        """Wait until *queue* has *count* messages ready."""
        wait_until(lambda: self.raw.count(queue) == count, SOON, f"{count} in {queue}")

    def take(self, queue: str, count: int) -> list[Taken]:
        """Take all messages of *queue*, which has *count*."""
        self.wait(queue, count)
        return take_all(self.raw, queue, count)

    def numbers(self, queue: str, count: int) -> list[int]:
        """Take all messages of *queue*, which has *count*; return their bodies."""
        return [int(each.body) for each in self.take(queue, count)]
