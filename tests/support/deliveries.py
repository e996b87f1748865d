"""Collecting the deliveries of a channel, and publishing messages for it."""

from __future__ import annotations

from postage.green.amqp.connection import Connection
from postage.green.amqp.delivery import Delivery
from postage.green.amqp.properties import Properties
from postage.testing.polling import wait_until

SOON = 10.0


class Inbox:
    """Collects deliveries, and acknowledges each of them unless *settle* is False."""

    def __init__(self, *, settle: bool = True) -> None:
        self.settle = settle
        self.got: list[Delivery] = []

    def __call__(self, delivery: Delivery) -> None:
        self.got.append(delivery)
        if self.settle:
            delivery.ack()

    @property
    def bodies(self) -> list[bytes]:
        return [delivery.body for delivery in self.got]

    def wait(self, count: int) -> list[bytes]:
        """Wait for *count* deliveries and return their bodies."""
        wait_until(lambda: len(self.got) >= count, SOON, f"{count} deliveries")
        return self.bodies


def send(connection: Connection, queue: str, *bodies: bytes) -> None:
    """Publish *bodies* to *queue*; returns when the broker has confirmed them."""
    for body in bodies:
        connection.confirming.get().publish_confirmed("", queue, Properties(), body, limit=SOON)
