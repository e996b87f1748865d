"""Reading back with plain pika what our side has sent."""

from __future__ import annotations

import json
from typing import Any

import pika.exceptions

from postage import messaging
from tests.support.raw import Raw, Taken

NOT_FOUND = 404


def listen(raw: Raw, exchange: type[messaging.Exchange], *keys: str) -> str:
    """Bind a new queue to *exchange*, declared by pika, by each of *keys*; return its name."""
    raw.channel.exchange_declare(**exchange.parameters)
    queue = raw.declare("", durable=False, exclusive=True)
    for key in keys:
        raw.channel.queue_bind(queue, exchange.name, key)
    return queue


def take(raw: Raw, queue: str) -> Any:
    """Take one message off *queue* and return its JSON value."""
    return json.loads(raw.take(queue).body)


def take_all(raw: Raw, queue: str, count: int) -> list[Taken]:
    """Take *count* messages off *queue*, which must be all that there are."""
    taken = [raw.take(queue) for _ in range(count)]
    assert raw.count(queue) == 0, f"more than {count} messages in {queue}"
    return taken


def exchange_exists(raw: Raw, name: str) -> bool:
    """Tell whether the broker has an exchange of that name."""
    try:
        raw.channel.exchange_declare(name, passive=True)
    except pika.exceptions.ChannelClosedByBroker as refused:
        if refused.reply_code != NOT_FOUND:
            raise
        return False
    return True
