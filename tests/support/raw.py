"""Plain pika beside Postage: puts any bytes into queues, and counts what is in them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import pika
import pika.exceptions

from postage.testing.polling import wait_until

NOT_FOUND = 404


class Taken(NamedTuple):
    """One message as it came off the broker."""

    method: Any
    properties: pika.BasicProperties
    body: bytes


def parameters(hup: dict[str, Any], vhost: str) -> pika.ConnectionParameters:
    """Return where plain pika shall connect to."""
    credentials = pika.PlainCredentials(hup["user"], hup["password"])
    return pika.ConnectionParameters(hup["host"], hup["port"], vhost, credentials)


class Raw:
    """One connection of plain pika; its calls block the thread for the time of a round trip."""

    def __init__(self, hup: dict[str, Any], vhost: str) -> None:
        self.connection = pika.BlockingConnection(parameters(hup, vhost))
        self._channel = self._opened()

    @property
    def channel(self) -> Any:
        """An open channel; the broker closes one for each question after what does not exist."""
        if not self._channel.is_open:
            self._channel = self._opened()
        return self._channel

    def _opened(self) -> Any:
        # With confirms, what is put here is in its queue before others publish on theirs.
        channel = self.connection.channel()
        channel.confirm_delivery()
        return channel

    def declare(self, queue: str, **flags: Any) -> str:
        """Declare a durable queue, or one with *flags*; return its name."""
        name: str = self.channel.queue_declare(queue, **{"durable": True, **flags}).method.queue
        return name

    def put(self, queue: str, body: bytes, **properties: Any) -> None:
        """Put *body* into *queue*, past every exchange."""
        self.send("", queue, body, **properties)

    def send(self, exchange: str, key: str, body: bytes, **properties: Any) -> None:
        """Publish *body* to *exchange* by *key*."""
        self.channel.basic_publish(exchange, key, body, pika.BasicProperties(**properties))

    def take(self, queue: str, within: float = 5.0) -> Taken:
        """Take one message off *queue*; our greenlets run until there is one."""
        found: list[Taken] = []

        def one() -> bool:
            method, properties, body = self.channel.basic_get(queue, auto_ack=True)
            if method is not None:
                found.append(Taken(method, properties, body))
            return bool(found)

        wait_until(one, within, f"a message in {queue!r}")
        return found[0]

    def count(self, queue: str) -> int:
        """Return how many messages wait in *queue*, delivered ones left out."""
        number: int = self._passive(queue).message_count
        return number

    def consumers(self, queue: str) -> int:
        """Return how many AMQP consumers *queue* has."""
        number: int = self._passive(queue).consumer_count
        return number

    def exists(self, queue: str) -> bool:
        """Tell whether there is a queue of that name."""
        try:
            self._passive(queue)
        except pika.exceptions.ChannelClosedByBroker as refused:
            if refused.reply_code == NOT_FOUND:
                return False
            raise
        return True

    def _passive(self, queue: str) -> Any:
        return self.channel.queue_declare(queue, passive=True).method


@contextmanager
def raw_to(hup: dict[str, Any], vhost: str) -> Iterator[Raw]:
    """Open a `Raw` and close it."""
    raw = Raw(hup, vhost)
    try:
        yield raw
    finally:
        raw.connection.close()
