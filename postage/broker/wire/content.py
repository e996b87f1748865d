"""The content of a message: its properties, and the message as the broker holds it.

The broker keeps a header as the bytes in which it arrived, because most messages leave as they
came.  It decodes properties when a message is published (see `postage.broker.core.validation`), and
again only for headers exchanges, dead letters and redeliveries from quorum queues.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

from postage.broker.wire.exceptions import SyntaxFault
from postage.broker.wire.fields import (
    EncodedValue,
    decode_table,
    encode_table,
    encoded_values,
    long_long_at,
    octet_at,
    short_at,
    short_string,
)
from postage.log_records import counted, logger_of
from postage.protocol import PROPERTIES, PROPERTY_FLAGS

__all__ = [
    "UNIQUE",
    "MessageHeader",
    "PublishedMessage",
    "address_parts",
    "decode_properties",
    "encode_properties",
    "encoded_headers",
    "shortened",
]

logger = logger_of(__name__)

UNIQUE = sum(PROPERTY_FLAGS[name] for name in ("correlation_id", "message_id", "timestamp"))
"""Flags of properties that differ in each message: a cached header would never be used again."""

Reader = Callable[[bytes, int], "tuple[Any, int]"]
"""Takes data and an offset; returns the value there and the offset of what follows."""
Writer = Callable[[Any], bytes]

_TYPES: dict[str, tuple[Reader, Writer]] = {
    "shortstr": (short_at, short_string),
    "table": (decode_table, encode_table),
    "octet": (octet_at, lambda value: bytes((value,))),
    "timestamp": (long_long_at, lambda value: value.to_bytes(8, "big")),
}


@lru_cache(maxsize=512)
def _readers(flags: int, read_table: Reader) -> tuple[tuple[str, Reader], ...]:
    """Return names and readers of the properties that *flags* announce."""
    readers = {type_: read for type_, (read, _) in _TYPES.items()} | {"table": read_table}
    announced = (each for place, each in enumerate(PROPERTIES) if flags >> (15 - place) & 1)
    return tuple((name, readers[type_]) for name, type_ in announced)


def decode_properties(data: bytes, read_table: Reader = decode_table) -> dict[str, Any]:
    """Return the properties in *data*, which starts with the flags; raise `SyntaxFault`.

    *read_table* reads the headers.
    """
    if len(data) < 2:  # noqa: PLR2004 - the flags
        raise SyntaxFault("a header without property flags")
    at, values = 2, {}
    for name, read in _readers(data[0] << 8 | data[1], read_table):
        values[name], at = read(data, at)
    return values


def encoded_headers(data: bytes) -> tuple[dict[str, Any], dict[str, EncodedValue]]:
    """Return the properties in *data*, and its headers, encoded as they came.

    For a header that is changed: what nobody changes keeps its bytes.  Raises `SyntaxFault`.
    """
    values = decode_properties(data, encoded_values)
    return values, values.pop("headers", {})


def encode_properties(values: dict[str, Any]) -> bytes:
    """Return flags and properties as a header frame carries them; None is no value."""
    flags, parts = 0, []
    for place, (name, type_) in enumerate(PROPERTIES):
        if values.get(name) is not None:
            flags |= 1 << (15 - place)
            parts.append(_TYPES[type_][1](values[name]))
    return flags.to_bytes(2, "big") + b"".join(parts)


_ADDED = frozenset(
    {
        "x-acquired-count",
        "x-death",
        "x-delivery-count",
        "x-first-death-exchange",
        "x-first-death-queue",
        "x-first-death-reason",
        "x-last-death-exchange",
        "x-last-death-queue",
        "x-last-death-reason",
    }
)
"""The headers that brokers add to dead letters and to redeliveries."""


def shortened(data: bytes, room: int) -> bytes:
    """Return properties like *data* that take at most *room* bytes.

    Headers may exceed the frames of a client: brokers add some, and each client chooses the size of
    its frames.  First those that brokers add are left out, then all of them.
    """
    logger.warning("A message is sent without some headers: they exceed a frame.", extra=counted())
    values, headers = encoded_headers(data)
    own = {name: value for name, value in headers.items() if name not in _ADDED}
    shorter = encode_properties({**values, "headers": own})
    return shorter if len(shorter) <= room else encode_properties(values)


class MessageHeader(NamedTuple):
    """The header of a message, and the properties that the broker acts on."""

    data: bytes
    """Flags and properties as consumers receive them."""
    priority: int = 0
    ttl: float | None = None
    """The message's own time to live in seconds (its ``expiration``)."""
    more_keys: tuple[str, ...] = ()
    """Routing keys of the headers CC and BCC (RabbitMQ, sender-selected distribution)."""
    keys_cost: int = 0
    """Estimated bytes of memory of these keys."""
    wants_direct_reply: bool = False
    """Whether the message is to be answered to the pseudo-queue of direct replies."""
    lineage: Any = None
    """Counts the dead letters of the message this one comes from; see `core.dead_letters`."""


class PublishedMessage:
    """A message that a client, or a queue with dead letters, has published."""

    __slots__ = ("address", "body", "exchange", "header", "key")

    def __init__(
        self,
        exchange: str,
        key: str,
        header: MessageHeader,
        body: bytes,
        address: bytes | None = None,
    ) -> None:
        self.exchange, self.key = exchange, key
        self.header, self.body = header, body
        self.address = address or short_string(exchange) + short_string(key)
        """Exchange and key, encoded as basic.publish and basic.deliver carry them."""

    @property
    def properties(self) -> dict[str, Any]:
        """The properties, decoded at each access."""
        return decode_properties(self.header.data)

    @property
    def headers(self) -> dict[str, Any]:
        """The headers table, decoded at each access; empty for a message without one."""
        return self.properties.get("headers") or {}


def address_parts(address: bytes) -> tuple[str, str]:
    """Return exchange and key of a `PublishedMessage.address`."""
    exchange, at = short_at(address, 0)
    return exchange, short_at(address, at)[0]
