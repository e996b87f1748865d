"""The message of all benchmarks, where it goes, and how JSON is done: the same for every peer."""

from __future__ import annotations

import json
from typing import Any

import pika

EXCHANGE = "postage-benchmark"
PREFETCH = 100
_RECORD = {
    "customer": "4f6d1f0a-90f4-4c5e-9c0d-5a0b7d1f2c33",
    "created": "2024-05-17T09:41:12.345678+02:00",
    "status": "in preparation",
    "total": 1284.5,
    "paid": False,
    "lines": [{"article": "A-1007", "pieces": 3}, {"article": "B-0042", "pieces": 12}],
    "remarks": "to be left at the back door, ring twice",
}


def payload(number: int) -> dict[str, Any]:
    """Return a dictionary of about 300 bytes of JSON, different for each *number*."""
    return {"number": number, **_RECORD}


def encoded(message: dict[str, Any]) -> bytes:
    """Return *message* as JSON: the standard library's, which Postage uses as well."""
    return json.dumps(message).encode()


def decoded(body: bytes) -> dict[str, Any]:
    """Return the dictionary in *body*."""
    message: dict[str, Any] = json.loads(body)
    return message


class Broker:
    """A plain connection that prepares the queue of a run, looks into it, and cleans up."""

    def __init__(self, url: str, queue: str) -> None:
        self._connection = pika.BlockingConnection(pika.URLParameters(url))
        self._channel = self._connection.channel()
        self._queue = queue

    def prepare(self) -> None:
        """Declare the exchange and an empty queue, bound by its own name; nothing is durable."""
        self._channel.exchange_declare(EXCHANGE, durable=False)
        self._channel.queue_declare(self._queue)
        self._channel.queue_bind(self._queue, EXCHANGE, self._queue)

    def waiting(self) -> int:
        """Return how many messages wait in the queue; unacknowledged ones are not among them."""
        count: int = self._channel.queue_declare(self._queue, passive=True).method.message_count
        return count

    def wait_for(self, count: int) -> None:
        """Return when *count* messages wait in the queue; lets greenlets run where patched."""
        while self.waiting() < count:
            self._connection.sleep(0.002)

    def clean(self) -> None:
        """Remove queue and exchange, and close."""
        self._channel.queue_delete(self._queue)
        self._channel.exchange_delete(EXCHANGE)
        self._connection.close()
