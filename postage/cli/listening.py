"""Listening to what passes at an exchange, on a private queue, for somebody who reads lines."""

from __future__ import annotations

import base64
import itertools
import select
import signal
import sys
from typing import Any

import gevent

from postage.cli.exchanges import existing, named
from postage.cli.exits import CommandFailed
from postage.cli.output import say_json
from postage.encoding import JsonEncoder
from postage.errors import ChannelRefused, DecodingError, TopologyMismatch
from postage.exchange import Exchange
from postage.green import GenericConsumer, GenericProducer

__all__ = ["line", "listen"]

QUEUE = {
    "name": "",
    "flags": {"exclusive": True, "auto_delete": True, "arguments": {"x-max-length": 10_000}},
}
LOOKS = 0.2
"""Seconds between two looks whether anybody still reads."""
PROPERTIES = ("content_type", "message_id", "correlation_id", "reply_to", "timestamp")


class Listener(GenericConsumer):
    """Consumes what it prints."""

    prefetch = 100


def listen(exchange: type[Exchange], key: str | None, count: int | None) -> None:
    """Print what passes at *exchange* by *key* (None: everything), until somebody ends it."""
    with existing(exchange):
        # Making a producer declares: what is missing is said before a queue is.
        type("Declaring", (GenericProducer,), {"eks": [(exchange, "")]})()
    key = _everything(exchange) if key is None else key
    listener = Listener([(exchange, [(QUEUE, key)])])
    for number in (signal.SIGTERM, signal.SIGINT):
        gevent.signal_handler(number, listener.stop_consuming)
    watching = gevent.spawn(_stop_without_reader, listener)
    numbers = itertools.count(1)

    def show(_channel: Any, method: Any, _header: Any, _body: bytes) -> None:
        say_json(line(method))
        listener.ack(method)
        if next(numbers) == count:
            listener.stop_consuming()

    print(f"Listening to {exchange.name!r} by {key!r}.", file=sys.stderr, flush=True)
    try:
        listener.start_consuming(show)
    finally:
        watching.kill()


def line(delivery: Any) -> dict[str, Any]:
    """Return what is printed of a delivery."""
    told = {"exchange": delivery.exchange, "key": delivery.routing_key}
    properties = {name: getattr(delivery.properties, name, None) for name in PROPERTIES}
    told |= {name: value for name, value in properties.items() if value is not None}
    return told | _body(delivery.body)


def _body(body: bytes) -> dict[str, Any]:
    """Return the body as JSON, else as text, else in base 64."""
    try:
        return {"body": JsonEncoder.decode(body)}
    except DecodingError:
        pass
    try:
        return {"text": body.decode()}
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(body).decode()}


def _everything(exchange: type[Exchange]) -> str:
    """Return a key that matches all messages; a direct exchange has none."""
    kind = _type_on_broker(exchange.name) if exchange.passive else exchange.exchange_type
    if kind == "direct":
        raise CommandFailed(f"exchange {exchange.name!r} is direct: give the KEY to listen to")
    return "#"  # fanout and headers exchanges do not look at it


def _type_on_broker(name: str) -> str:
    """Return the type of an exchange that exists.

    AMQP has no question for it.  But who declares it once more, as a direct one, is told where it
    is none.  Who may not declare does not learn it, and ``#`` is as good a guess as any.
    """
    probe = named(name, exchange_type="direct")
    try:
        type("Probing", (GenericProducer,), {"eks": [(probe, "")]})()
    except TopologyMismatch as exc:
        return exc.theirs if exc.flag == "type" else "direct"
    except ChannelRefused:
        return "unknown"
    return "direct"


def _stop_without_reader(listener: GenericConsumer) -> None:
    """Stop when the reader of our output has gone, although nothing comes that could tell us."""
    watched = select.poll()
    if sys.stdout is not None:  # else it was closed before we started
        watched.register(sys.stdout.fileno(), 0)
        while not watched.poll(0):
            gevent.sleep(LOOKS)
    listener.stop_consuming()
