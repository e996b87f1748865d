"""Plain pika beside Postage: it puts any bytes into queues, and reads what Postage has sent."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import pika
import pika.exceptions

from postage import messaging
from postage.testing.polling import wait_until

NOT_FOUND = 404


class Taken(NamedTuple):
    """One message, as the broker delivered it."""

    method: Any
    properties: pika.BasicProperties
    body: bytes

    @property
    def routing_key(self) -> str:
        """The routing key of the message."""
        key: str = self.method.routing_key
        return key

    @property
    def value(self) -> Any:
        """The JSON value of the body."""
        return json.loads(self.body)


def parameters(hup: dict[str, Any], vhost: str) -> pika.ConnectionParameters:
    """Return the connection parameters for plain pika."""
    credentials = pika.PlainCredentials(hup["user"], hup["password"])
    return pika.ConnectionParameters(hup["host"], hup["port"], vhost, credentials)


class Raw:
    """One connection of plain pika; its methods block the thread for a round trip."""

    def __init__(self, hup: dict[str, Any], vhost: str) -> None:
        self.connection = pika.BlockingConnection(parameters(hup, vhost))
        self._channel = self._opened()

    @property
    def channel(self) -> Any:
        """An open channel; the broker closes it when we ask for something that does not exist."""
        if not self._channel.is_open:
            self._channel = self._opened()
        return self._channel

    def _opened(self) -> Any:
        # With confirms, a message is in its queue before other connections publish theirs.
        channel = self.connection.channel()
        channel.confirm_delivery()
        return channel

    def declare(self, queue: str, **flags: Any) -> str:
        """Declare a durable queue, or one with *flags*; return its name."""
        name: str = self.channel.queue_declare(queue, **{"durable": True, **flags}).method.queue
        return name

    def put(self, queue: str, body: bytes, **properties: Any) -> None:
        """Put *body* into *queue*, through the default exchange."""
        self.send("", queue, body, **properties)

    def send(self, exchange: str, key: str, body: bytes, **properties: Any) -> None:
        """Publish *body* to *exchange* with *key*."""
        self.channel.basic_publish(exchange, key, body, pika.BasicProperties(**properties))

    def take(self, queue: str, within: float = 5.0) -> Taken:
        """Take one message off *queue*; other greenlets run until there is one."""
        found: list[Taken] = []

        def one() -> bool:
            method, properties, body = self.channel.basic_get(queue, auto_ack=True)
            if method is not None:
                found.append(Taken(method, properties, body))
            return bool(found)

        wait_until(one, within, f"a message in {queue!r}")
        return found[0]

    def count(self, queue: str) -> int:
        """Return how many messages of *queue* are not delivered yet."""
        number: int = self._passive(queue).message_count
        return number

    def consumers(self, queue: str) -> int:
        """Return how many AMQP consumers *queue* has."""
        number: int = self._passive(queue).consumer_count
        return number

    def exists(self, queue: str) -> bool:
        """Tell whether the broker has *queue*."""
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


def listen(raw: Raw, exchange: type[messaging.Exchange], *keys: str) -> str:
    """Declare *exchange*, bind a new queue to it with each of *keys*; return the queue's name."""
    raw.channel.exchange_declare(**exchange.parameters)
    queue = raw.declare("", durable=False, exclusive=True)
    for key in keys:
        raw.channel.queue_bind(queue, exchange.name, key)
    return queue


def take(raw: Raw, queue: str) -> Any:
    """Take one message off *queue* and return its JSON value."""
    return raw.take(queue).value


def take_all(raw: Raw, queue: str, count: int) -> list[Taken]:
    """Take *count* messages off *queue*, and assert that it has no more."""
    taken = [raw.take(queue) for _ in range(count)]
    assert raw.count(queue) == 0, f"more than {count} messages in {queue}"
    return taken


def exchange_exists(raw: Raw, name: str) -> bool:
    """Tell whether the broker has the exchange *name*."""
    try:
        raw.channel.exchange_declare(name, passive=True)
    except pika.exceptions.ChannelClosedByBroker as refused:
        if refused.reply_code != NOT_FOUND:
            raise
        return False
    return True
