"""Dead letters: messages that have expired, were rejected, or exceed a limit (RabbitMQ, DLX)."""

from __future__ import annotations

from typing import Any

from postage.broker.core.queue import BrokerQueue
from postage.broker.wire.content import MessageHeader, PublishedMessage, encode_properties
from postage.broker.wire.fields import Timestamp

__all__ = ["dead_letter", "has_cycle"]


def dead_letter(
    message: PublishedMessage, queue: BrokerQueue, reason: str, wall: float
) -> PublishedMessage:
    """Return *message* as it is published to the dead letter exchange of *queue*."""
    values = message.properties
    headers = dict(values.get("headers") or {})
    expiration = values.pop("expiration", None)
    headers["x-death"] = _deaths(message, headers, queue.name, reason, wall, expiration)
    headers.setdefault("x-first-death-reason", reason)
    headers.setdefault("x-first-death-queue", queue.name)
    headers.setdefault("x-first-death-exchange", message.exchange)
    values["headers"] = headers
    key = queue.options.dead_letter_key
    if key is not None:
        headers.pop("CC", None)  # the queue's key replaces all keys of the message
    more_keys = message.header.more_keys if key is None else ()
    data = encode_properties(values)
    return PublishedMessage(
        queue.options.dead_letter_exchange or "",
        message.key if key is None else key,
        MessageHeader(data, message.header.priority, more_keys=more_keys),
        message.body,
    )


def _deaths(  # noqa: PLR0913 - the contents of an entry of x-death
    message: PublishedMessage,
    headers: dict[str, Any],
    queue: str,
    reason: str,
    wall: float,
    expiration: str | None,
) -> list[dict[str, Any]]:
    """Return the x-death table: the newest death first, one for each pair of queue and reason."""
    before = headers.get("x-death")
    before = before if isinstance(before, list) else []
    deaths = [dict(each) for each in before if isinstance(each, dict)]
    same = [each for each in deaths if (each.get("queue"), each.get("reason")) == (queue, reason)]
    copies = headers.get("CC")
    keys = [message.key, *(each for each in copies or () if isinstance(each, str))]
    newest: dict[str, Any] = {
        "count": int(same[0].get("count", 0)) + 1 if same else 1,
        "reason": reason,
        "queue": queue,
        "time": same[0].get("time", Timestamp(wall)) if same else Timestamp(wall),
        "exchange": same[0].get("exchange", message.exchange) if same else message.exchange,
        "routing-keys": same[0].get("routing-keys", keys) if same else keys,
    }
    if expiration is not None:
        newest["original-expiration"] = expiration
    return [newest, *(each for each in deaths if each not in same)]


def has_cycle(message: PublishedMessage, queue: str, reason: str) -> bool:
    """Tell whether *message* returned to *queue* although no client rejected it on the way."""
    deaths = message.headers.get("x-death")
    if reason == "rejected" or not isinstance(deaths, list):
        return False
    path = [each for each in deaths if isinstance(each, dict)]
    names = [each.get("queue") for each in path]
    if queue not in names:
        return False
    return all(each.get("reason") != "rejected" for each in path[: names.index(queue) + 1])
