"""The queue of a round: declared, observed while peers fill and empty it, and removed."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pika
from pika.exceptions import ChannelClosedByBroker

from benchmarks.job import EXCHANGE

GLANCE = 0.002
"""Seconds between two looks into the queue."""


class Queue:
    """*name* on the broker at *url*; blocks the thread."""

    def __init__(self, url: str, name: str) -> None:
        parameters = pika.URLParameters(url)
        parameters.heartbeat = 0  # nothing is read while the peers work
        self._connection = pika.BlockingConnection(parameters)
        self._channel: Any = self._connection.channel()
        self._name = name

    def prepare(self, *, durable: bool) -> None:
        """Declare the exchange and an empty queue, bound by its own name."""
        self._channel.exchange_declare(EXCHANGE, durable=True)
        self._channel.queue_declare(self._name, durable=durable)
        self._channel.queue_bind(self._name, EXCHANGE, self._name)

    def counts(self) -> tuple[int, int]:
        """Return the numbers of ready messages and of consumers; 0 if there is no queue."""
        try:
            answer = self._channel.queue_declare(self._name, passive=True).method
        except ChannelClosedByBroker:
            self._channel = self._connection.channel()
            return 0, 0
        return answer.message_count, answer.consumer_count

    def wait_for_messages(self, count: int, within: float) -> None:
        """Wait until *count* messages are ready in the queue."""
        self._wait(lambda: self.counts()[0] >= count, f"{count} messages", within)

    def wait_for_consumers(self, count: int, within: float) -> None:
        """Wait until the queue has *count* consumers."""
        self._wait(lambda: self.counts()[1] >= count, f"{count} consumers", within)

    def _wait(self, check: Callable[[], bool], what: str, within: float) -> None:
        deadline = time.monotonic() + within
        while not check():
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self._name} had not {what} within {within:.0f} s")
            self._connection.sleep(GLANCE)

    def remove(self, *leavings: str) -> None:
        """Delete the queue, the exchange and whatever peers have left behind, and close."""
        for queue in (self._name, *leavings):
            self._channel.queue_delete(queue)
        for exchange in (EXCHANGE, *leavings):
            self._channel.exchange_delete(exchange)
        self.close()

    def close(self) -> None:
        """Close the connection, and leave the queue."""
        self._connection.close()
