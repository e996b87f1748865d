"""What was recorded from a running 1.2.1, and a plain pika client beside ours."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import gevent
import pika

from postage import messaging

WIRE: dict[str, Any] = json.loads(Path(__file__).with_name("wire_v121.json").read_text("utf-8"))
#: What was given to the recorded producer.
FINGERPRINT = {
    "name": "rec",
    "type": "application",
    "pid": "4242",
    "host": "host-a",
    "user": "alice",
    "vhost": "/",
}
RECORDS = {case: record for case, record in WIRE.items() if isinstance(record, dict)}
SENT = {case: record for case, record in RECORDS.items() if "routing_key" in record}
REPLIES = {
    case.removeprefix("reply: "): record["replies"]
    for case, record in RECORDS.items()
    if case.startswith("reply: ")
}


class RecordedExchange(messaging.Exchange):
    name = "recorded-exchange"


class Got(NamedTuple):
    """One message as it came off the broker."""

    routing_key: str
    properties: pika.BasicProperties
    body: bytes

    @property
    def value(self) -> Any:
        """The decoded body."""
        return json.loads(self.body)


class Wire:
    """A plain pika connection; its calls block the thread for the time of a round trip."""

    def __init__(self, hup: dict[str, Any], vhost: str) -> None:
        credentials = pika.PlainCredentials(hup["user"], hup["password"])
        parameters = pika.ConnectionParameters(hup["host"], hup["port"], vhost, credentials)
        self.connection = pika.BlockingConnection(parameters)
        self.channel = self.connection.channel()

    def listen(self, *keys: str) -> str:
        """Bind a new queue to the recorded exchange by each of *keys*; return its name."""
        self.channel.exchange_declare(**RecordedExchange.parameters)
        queue: str = self.channel.queue_declare("", exclusive=True).method.queue
        for key in keys:
            self.channel.queue_bind(queue, RecordedExchange.name, key)
        return queue

    def get(self, queue: str, within: float = 5.0) -> Got:
        """Take one message from *queue*, and let our greenlets run until there is one."""
        with gevent.Timeout(within):
            while True:
                method, properties, body = self.channel.basic_get(queue, auto_ack=True)
                if method is not None:
                    return Got(method.routing_key, properties, body)
                gevent.sleep(0.005)

    def put(self, queue: str, record: dict[str, Any], **properties: Any) -> None:
        """Put the recorded message *record* into *queue*, with its own properties and more."""
        kept = record["properties"] | properties
        self.channel.basic_publish("", queue, record["body"], pika.BasicProperties(**kept))


@contextmanager
def wire_to(hup: dict[str, Any], vhost: str) -> Iterator[Wire]:
    """Open a `Wire` and close it."""
    wire = Wire(hup, vhost)
    try:
        yield wire
    finally:
        wire.connection.close()
