"""What the things that clients define cost: estimated bytes of memory.

A cost depends on the thing alone, so that exactly what was charged for the thing leaves the account
with it.  The constants were measured with `tracemalloc`.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

__all__ = [
    "CHANNEL",
    "EXCHANGE",
    "HELD_STEP",
    "LEVEL",
    "PIECE",
    "QUEUE",
    "binding_cost",
    "consumer_cost",
    "queue_cost",
    "value_cost",
]

QUEUE = 1_800
EXCHANGE = 800
CHANNEL = 2_000
"""A channel, with the method of a publish whose content has not arrived."""
LEVEL = 800
"""One priority of a queue."""
HELD_STEP = 400
"""A publish, ack, nack or reject in a transaction, besides the message."""
PIECE = 40
"""A piece of output, besides its bytes."""
_BINDING = 1_300
_WORD = 250
"""One word of a binding's key, which may be a node in the tree of a topic exchange."""
_CONSUMER = 1_000
_TAGS = 8
"""Copies of a consumer's tag in prepared frames."""
_VALUE = 64
_ENTRY = 100
"""One entry of a table besides its name and value."""


def value_cost(value: Any) -> int:
    """Return the cost of a value of a table, or of a table.

    The size on the wire would not do: an empty table takes 5 bytes there, and 64 in memory.
    """
    if isinstance(value, str):
        return _VALUE + (len(value) if value.isascii() else 4 * len(value))
    if isinstance(value, bytes):
        return _VALUE + len(value)
    if isinstance(value, dict):
        entries = sum(_ENTRY + value_cost(key) + value_cost(each) for key, each in value.items())
        return _VALUE + entries
    if isinstance(value, list):
        return _VALUE + sum(8 + value_cost(each) for each in value)
    return 2 * _VALUE if isinstance(value, Decimal) else _VALUE


def queue_cost(name: str, arguments: dict[str, Any], levels: int) -> int:
    """Return the cost of an empty queue with *levels* priorities."""
    return QUEUE + value_cost(name) + value_cost(arguments) + LEVEL * (levels - 1)


def binding_cost(destination: str, key: str, arguments: dict[str, Any], identity: bytes) -> int:
    """Return the cost of a binding; *identity* are its encoded arguments."""
    names = value_cost(destination) + value_cost(key) + len(identity)
    return _BINDING + names + value_cost(arguments) + _WORD * (key.count(".") + 1)


def consumer_cost(tag: str) -> int:
    """Return the cost of a consumer."""
    return _CONSUMER + _TAGS * value_cost(tag)
