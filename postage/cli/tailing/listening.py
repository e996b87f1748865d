"""Listening to an exchange: the program behind ``postage tail``.

A private queue is bound to the exchange, so other consumers get no message less.  Each message is
printed as a line: of JSON, or for readers on a terminal.
"""

from __future__ import annotations

import base64
import itertools
import select
import shutil
import sys
import time
from collections.abc import Callable
from typing import Any

import gevent

from postage.cli.arguments import exchange_named, explain_missing
from postage.cli.exits import CommandFailed, print_error
from postage.cli.output import print_json, print_text
from postage.cli.remote import Remote
from postage.cli.tailing.readable import readable
from postage.encoding import JsonEncoder
from postage.errors import ChannelRefused, DecodingError, TopologyMismatch
from postage.exchange import Exchange
from postage.green import Classic, GenericConsumer
from postage.signals import stopping_signals

QUEUE = Classic("", exclusive=True, auto_delete=True, max_length=10_000)
POLL_INTERVAL = 0.2
"""Seconds between two checks whether the reader of our output has closed it."""
PROPERTIES = ("content_type", "message_id", "correlation_id", "reply_to", "timestamp")


def listen(
    exchange: type[Exchange], key: str | None, count: int | None, show: Callable[[Any], None]
) -> None:
    """Call *show* with each delivery that passes *exchange* by *key* (None: all of them).

    Ends after *count* messages (None: no limit), at a signal that stops programs, or when the
    reader of the output closes it.
    """
    with explain_missing(exchange):
        # It declares the exchange before the queue: if the exchange is missing, no trace is left.
        Remote(exchange, key or "")
    key = _key_for_everything(exchange) if key is None else key
    stream = GenericConsumer([(exchange, [(QUEUE, key)])])
    stream.prefetch = 100
    for number in stopping_signals():
        gevent.signal_handler(number, stream.stop_consuming)
    watching = gevent.spawn(_stop_without_reader, stream)
    numbers = itertools.count(1)

    def print_message(_channel: Any, method: Any, _header: Any, _body: bytes) -> None:
        show(method)
        stream.ack(method)
        if next(numbers) == count:
            stream.stop_consuming()

    print_error(f"Listening to {exchange.name!r} by {key!r}.")
    try:
        stream.start_consuming(print_message)
    finally:
        watching.kill()


def print_as_json(delivery: Any) -> None:
    """Print a delivery as a line of JSON."""
    print_json(as_line(delivery))


def printer_for_readers(*, coloured: bool) -> Callable[[Any], None]:
    """Return a function that prints a delivery on one line of the terminal, whatever its width."""
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")  # the terminal may lack letters that others send

    def print_readable(delivery: Any) -> None:
        width = shutil.get_terminal_size().columns
        at = time.strftime("%H:%M:%S")
        print_text(readable(as_line(delivery), at, width, coloured=coloured))

    return print_readable


def as_line(delivery: Any) -> dict[str, Any]:
    """Return what is printed for a delivery; its body as JSON, else as text, else in base 64."""
    line = {"exchange": delivery.exchange, "key": delivery.routing_key}
    values = {name: getattr(delivery.properties, name, None) for name in PROPERTIES}
    line |= {name: value for name, value in values.items() if value is not None}
    try:
        return line | {"body": JsonEncoder.decode(delivery.body)}
    except DecodingError:
        pass
    try:
        return line | {"text": delivery.body.decode()}
    except UnicodeDecodeError:
        return line | {"base64": base64.b64encode(delivery.body).decode()}


def _key_for_everything(exchange: type[Exchange]) -> str:
    """Return a key that matches all messages; raises `CommandFailed` for a direct exchange.

    AMQP has no query for the type of an existing exchange.  But a broker refuses to declare it with
    a different type, and names the type that it has.
    """
    exchange_type = exchange.exchange_type
    if exchange.passive:
        exchange_type = "direct"
        try:
            Remote(exchange_named(exchange.name, exchange_type=exchange_type), "")
        except TopologyMismatch as exc:
            if exc.flag == "type":
                exchange_type = exc.theirs
        except ChannelRefused:
            exchange_type = "unknown"  # we may not declare
    if exchange_type == "direct":
        raise CommandFailed(f"exchange {exchange.name!r} is direct: give the KEY to listen to")
    return "#"  # fanout and headers exchanges ignore the key


def _stop_without_reader(stream: GenericConsumer) -> None:
    """Stop *stream* when the reader of our output closes it, although no message is printed."""
    stdout = select.poll()
    if sys.stdout is not None:  # else it was closed before we started
        stdout.register(sys.stdout.fileno(), 0)
        while not stdout.poll(0):
            gevent.sleep(POLL_INTERVAL)
    stream.stop_consuming()
