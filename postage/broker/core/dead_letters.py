"""Dead letters: messages that have expired, were rejected, or exceed a limit (RabbitMQ, DLX)."""

from __future__ import annotations

from collections.abc import Callable
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
    header = message.header
    more_keys, cost = (header.more_keys, header.keys_cost) if key is None else ((), 0)
    data = encode_properties(values)
    return PublishedMessage(
        queue.options.dead_letter_exchange or "",
        message.key if key is None else key,
        MessageHeader(data, header.priority, more_keys=more_keys, keys_cost=cost),
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
    deaths = [each for each in before if isinstance(each, dict)] if isinstance(before, list) else []
    same = [each for each in deaths if _is_death(each, queue, reason)]
    known = same[0] if same and _is_sound(same[0]) else {}
    copies = headers.get("CC")
    copies = copies if isinstance(copies, list) else []
    keys = [message.key, *(each for each in copies if isinstance(each, str))]
    newest: dict[str, Any] = {
        "count": known.get("count", 0) + 1,
        "reason": reason,
        "queue": queue,
        "time": known.get("time", Timestamp(wall)),
        "exchange": known.get("exchange", message.exchange),
        "routing-keys": known.get("routing-keys", keys),
    }
    if expiration is not None:
        newest["original-expiration"] = expiration
    return [newest, *(each for each in deaths if not _is_death(each, queue, reason))]


def _is_death(entry: dict[str, Any], queue: str, reason: str) -> bool:
    return (entry.get("queue"), entry.get("reason")) == (queue, reason)


def _is_sound(entry: dict[str, Any]) -> bool:
    """Tell whether a broker may have written *entry*; a publisher can write anything there."""
    return all(
        name not in entry or (type(entry[name]) is type_ and fits(entry[name]))
        for name, (type_, fits) in _ENTRY.items()
    )


def _is_count(value: int) -> bool:
    return 0 < value < _MOST_DEATHS


def _are_keys(values: list[Any]) -> bool:
    return all(isinstance(each, str) for each in values)


_MOST_DEATHS = (1 << 63) - 1
"""One more than this fits into no field of a table."""
_ENTRY: dict[str, tuple[type, Callable[[Any], bool]]] = {
    "count": (int, _is_count),
    "time": (Timestamp, bool),
    "exchange": (str, lambda _: True),
    "routing-keys": (list, _are_keys),
}
"""The types of the fields of an entry of x-death that the broker takes over, and their check."""


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
