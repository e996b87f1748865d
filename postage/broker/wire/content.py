"""Messages as the broker holds them, and the few properties that it looks into.

The header of a message passes through as bytes; it is taken apart only where a rule asks for it
(expiration, priority, headers exchange, dead letters).
"""

from __future__ import annotations

from typing import Any

from postage.broker.wire.exceptions import SyntaxFault
from postage.broker.wire.fields import decode_table, encode_table, short_at, short_string

__all__ = ["ContentProperties", "PublishedMessage", "address_parts"]

_NAMES = (
    ("content_type", "short"),
    ("content_encoding", "short"),
    ("headers", "table"),
    ("delivery_mode", "octet"),
    ("priority", "octet"),
    ("correlation_id", "short"),
    ("reply_to", "short"),
    ("expiration", "short"),
    ("message_id", "short"),
    ("timestamp", "time"),
    ("type", "short"),
    ("user_id", "short"),
    ("app_id", "short"),
    ("cluster_id", "short"),
)
_SIZES = {"octet": 1, "time": 8}

# The flags of priority, reply_to, expiration and user_id.
_TELLING = 1 << 11 | 1 << 9 | 1 << 8 | 1 << 4


class ContentProperties:
    """The basic properties in the payload of a header frame, decoded."""

    def __init__(self, values: dict[str, Any]) -> None:
        self.values = values

    @classmethod
    def decode(cls, data: bytes) -> ContentProperties:
        """Return the properties in *data*, which begins with their flags; raise `SyntaxFault`."""
        if len(data) < 2:  # noqa: PLR2004 - the flags
            raise SyntaxFault("a header without property flags")
        flags, at, values = int.from_bytes(data[:2], "big"), 2, {}
        for place, (name, kind) in enumerate(_NAMES):
            if flags >> (15 - place) & 1:
                values[name], at = _read(data, at, kind)
        return cls(values)

    def encode(self) -> bytes:
        """Return flags and values as they stand in a header frame."""
        flags, parts = 0, []
        for place, (name, kind) in enumerate(_NAMES):
            if self.values.get(name) is not None:
                flags |= 1 << (15 - place)
                parts.append(_written(self.values[name], kind))
        return flags.to_bytes(2, "big") + b"".join(parts)

    def get(self, name: str) -> Any:
        """Return a property, or None."""
        return self.values.get(name)


def _read(data: bytes, at: int, kind: str) -> tuple[Any, int]:
    if kind == "short":
        return short_at(data, at)
    if kind == "table":
        return decode_table(data, at)
    end = at + _SIZES[kind]
    if end > len(data):
        raise SyntaxFault("a header ends in mid-property")
    return int.from_bytes(data[at:end], "big"), end


def _written(value: Any, kind: str) -> bytes:
    if kind == "short":
        return short_string(value)
    if kind == "table":
        return encode_table(value)
    data: bytes = value.to_bytes(_SIZES[kind], "big")
    return data


class PublishedMessage:
    """A published message on its way to queues, each of which makes a `QueuedMessage` of it."""

    __slots__ = ("_properties", "body", "exchange", "header", "key", "more_keys")

    def __init__(self, exchange: str, key: str, header: bytes, body: bytes) -> None:
        self.exchange, self.key = exchange, key
        self.more_keys: tuple[str, ...] = ()
        """From the headers CC and BCC (RabbitMQ, sender-selected distribution)."""
        self.header, self.body = header, body
        self._properties: ContentProperties | None = None

    @property
    def address(self) -> bytes:
        """Exchange and key as basic.publish and basic.deliver have them, one after the other."""
        return short_string(self.exchange) + short_string(self.key)

    @property
    def is_plain(self) -> bool:
        """Whether no property asks the broker for anything, so that none need be decoded."""
        return not int.from_bytes(self.header[:2], "big") & _TELLING

    def replace_header(self, header: bytes) -> None:
        """Take another header before anybody has seen this one."""
        self.header, self._properties = header, None

    @property
    def properties(self) -> ContentProperties:
        """The properties, decoded when first asked for; raises `SyntaxFault`."""
        if self._properties is None:
            self._properties = ContentProperties.decode(self.header)
        return self._properties

    @property
    def headers(self) -> dict[str, Any]:
        """The headers table; empty where there is none."""
        return self.properties.get("headers") or {}


def address_parts(address: bytes) -> tuple[str, str]:
    """Return exchange and key of a `PublishedMessage.address`."""
    exchange, at = short_at(address, 0)
    return exchange, short_at(address, at)[0]
