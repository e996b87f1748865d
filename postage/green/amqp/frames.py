"""The hot path's own AMQP 0-9-1 codec: publishes out, deliveries and confirms in.

Only what is sent or received per message is here; every other frame is pika's.  Property tests hold
it byte for byte against pika's codec.  Section numbers are those of the AMQP 0-9-1 specification;
the grammar of frames is in its section 4.2.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, NamedTuple

import pika.data

from postage.errors import SettingsError

__all__ = [
    "ACK",
    "BODY",
    "CANCEL",
    "DELIVER",
    "END",
    "HEADER",
    "METHOD",
    "NACK",
    "Confirm",
    "Deliver",
    "Properties",
    "PropertiesTemplate",
    "content_frames",
    "decode_confirm",
    "decode_deliver",
    "encode_ack",
    "encode_reject",
    "publish_method",
]

METHOD, HEADER, BODY = 1, 2, 3
END = b"\xce"
OVERHEAD = 8
"""Bytes of a frame around its payload: type, channel, size, end (4.2.3)."""

# class id << 16 | method id, as they stand at the start of a method frame (4.2.4)
PUBLISH, DELIVER, ACK, REJECT, NACK = (60 << 16 | m for m in (40, 60, 80, 90, 120))
CANCEL = 60 << 16 | 30

_FRAME = struct.Struct(">BHI")
_CONTENT = struct.Struct(">BHIHHQ")  # a header frame up to its property flags (4.2.6.1)
_ACK_FRAME = struct.Struct(">BHIIQBc")
_TAG = struct.Struct(">QB")


class Properties:
    """The properties of a message (basic class, 1.8.1 of the reference); None where absent.

    *headers* is a table.  *timestamp* is in seconds since the epoch, *expiration* in milliseconds
    as text.  Properties that were received, or rendered by a `PropertiesTemplate`, stay encoded
    until one of them is read.
    """

    NAMES = (
        "content_type",
        "content_encoding",
        "headers",
        "delivery_mode",
        "priority",
        "correlation_id",
        "reply_to",
        "expiration",
        "message_id",
        "timestamp",
        "type",
        "user_id",
        "app_id",
        "cluster_id",
    )
    """In the order of their flags and of their values on the wire."""

    content_type: str | None
    content_encoding: str | None
    delivery_mode: int | None
    priority: int | None
    correlation_id: str | None
    reply_to: str | None
    expiration: str | None
    message_id: str | None
    timestamp: int | None
    type: str | None
    user_id: str | None
    app_id: str | None
    cluster_id: str | None
    _table: dict[str, Any] | bytes | None
    _wire: bytes

    def __init__(self, **values: Any) -> None:
        if not _NAMES.issuperset(values):
            raise TypeError(f"no such property: {', '.join(values.keys() - _NAMES)}")
        if "headers" in values:
            values["_table"] = values.pop("headers")
        self.__dict__ = values

    def __getattr__(self, name: str) -> Any:
        """Return what is on the wire or absent; from then on it is an attribute as any other."""
        if name not in _ABSENT:
            raise AttributeError(f"messages have no property {name!r}")
        values = _ABSENT.copy()
        known, self.__dict__ = self.__dict__, values
        if "_wire" in known:
            _decode(known.pop("_wire"), values)
        values.update(known)
        return values[name]

    @property
    def headers(self) -> dict[str, Any] | None:
        """The headers table, or None."""
        if isinstance(self._table, bytes):
            table: dict[str, Any] = pika.data.decode_table(self._table, 0)[0]
            self._table = table
        return self._table

    @headers.setter
    def headers(self, table: dict[str, Any] | None) -> None:
        self._table = table

    def as_dict(self) -> dict[str, Any]:
        """Return the properties that are present."""
        return {n: v for n in self.NAMES if (v := getattr(self, n)) is not None}

    def __eq__(self, other: object) -> bool:
        """Equal when every property is."""
        return isinstance(other, Properties) and self.as_dict() == other.as_dict()

    __hash__ = None  # type: ignore[assignment]  # the values can change

    def __repr__(self) -> str:
        return f"Properties({', '.join(f'{n}={v!r}' for n, v in self.as_dict().items())})"

    def encode(self) -> bytes:
        """Return the flags and the values as they stand in a header frame."""
        values = self.__dict__
        if len(values) == 1 and "_wire" in values:
            wire: bytes = values["_wire"]
            return wire
        present = {name: v for name in _ABSENT if (v := getattr(self, name)) is not None}
        flags, plan = _plan(tuple(present))
        return flags + b"".join([encode(present[name]) for name, encode in plan])

    @classmethod
    def decode(cls, wire: bytes) -> Properties:
        """Return the properties whose flags and values *wire* is."""
        self = cls.__new__(cls)
        self._wire = wire
        return self


class PropertiesTemplate:
    """Properties with one value of their own, and others that many messages have in common.

    What many have in common is encoded once: to publish a message takes a sixth less then.
    """

    def __init__(self, own: str, *common: str) -> None:
        self._own, self._common = own, common
        # Timestamps are among it, of which only that of this second is asked for again.
        self._around = lru_cache(maxsize=32)(self._encoded)

    def render(self, own: str, *common: str | int) -> Properties:
        """Return properties with these values, in the order of their names."""
        before, after = self._around(common)
        return Properties.decode(before + short_string(own) + after)

    def _encoded(self, common: tuple[Any, ...]) -> tuple[bytes, bytes]:
        """Return what stands before and after the value of its own."""
        values = dict(zip(self._common, common, strict=True))
        flags, plan = _plan((self._own, *values))
        names = [name for name, _ in plan]
        parts = [b"" if name == self._own else encode(values[name]) for name, encode in plan]
        place = names.index(self._own)
        return flags + b"".join(parts[:place]), b"".join(parts[place:])


_LENGTHS = [bytes((size,)) for size in range(256)]


def short_string(text: str) -> bytes:
    """Return *text* with its length before it (4.2.5.3: at most 255 bytes)."""
    data = text.encode("utf-8", "surrogateescape")
    try:
        return _LENGTHS[len(data)] + data
    except IndexError:
        raise too_long(text) from None


def too_long(text: str) -> SettingsError:
    """Return the error for *text* that AMQP cannot hold."""
    return SettingsError(f"longer than AMQP's 255 bytes: {text[:60]!r}...")


def _short_at(data: bytes, at: int) -> tuple[str, int]:
    end = at + 1 + data[at]
    return data[at + 1 : end].decode("utf-8", "surrogateescape"), end


def _table_at(data: bytes, at: int) -> tuple[bytes, int]:
    end = at + 4 + int.from_bytes(data[at : at + 4], "big")
    return data[at:end], end


def _encode_table(table: dict[str, Any] | bytes) -> bytes:
    if isinstance(table, bytes):
        return table  # as it was received
    pieces: list[bytes] = []
    pika.data.encode_table(pieces, table)
    return b"".join(pieces)


_ENCODE: dict[str, Any] = {
    "short": short_string,
    "table": _encode_table,
    "octet": struct.Struct(">B").pack,
    "time": struct.Struct(">Q").pack,
}
_DECODE: dict[str, Any] = {
    "short": _short_at,
    "table": _table_at,
    "octet": lambda data, at: (data[at], at + 1),
    "time": lambda data, at: (int.from_bytes(data[at : at + 8], "big"), at + 8),
}
_KINDS = {"headers": "table", "delivery_mode": "octet", "priority": "octet", "timestamp": "time"}
_NAMES = frozenset(Properties.NAMES)
# For each property in the order of the wire: its flag, its attribute, its kind.
_LAYOUT = [
    (1 << (15 - place), "_table" if name == "headers" else name, _KINDS.get(name, "short"))
    for place, name in enumerate(Properties.NAMES)
]


_ABSENT: dict[str, Any] = dict.fromkeys(name for _, name, _ in _LAYOUT)


@lru_cache(maxsize=1024)
def _plan(present: tuple[str, ...]) -> tuple[bytes, list[tuple[str, Any]]]:
    """Return the flags for the attributes *present*, and what encodes each, in order."""
    layout = [entry for entry in _LAYOUT if entry[1] in present]
    flags = sum(flag for flag, _, _ in layout)
    return flags.to_bytes(2, "big"), [(name, _ENCODE[kind]) for _, name, kind in layout]


@lru_cache(maxsize=1024)
def _reading(flags: int) -> list[tuple[str, Any]]:
    """Return the attributes that *flags* announce, and what decodes each, in order."""
    return [(name, _DECODE[kind]) for flag, name, kind in _LAYOUT if flags & flag]


def _decode(wire: bytes, values: dict[str, Any]) -> None:
    """Set the attributes in *wire* in *values*."""
    at = 2
    for name, decode in _reading(wire[0] << 8 | wire[1]):
        if decode is _short_at:  # as most are; a call for each costs as much again
            end = at + 1 + wire[at]
            values[name] = wire[at + 1 : end].decode("utf-8", "surrogateescape")
            at = end
        else:
            values[name], at = decode(wire, at)


@lru_cache(maxsize=1024)
def publish_method(channel: int, exchange: str, key: str, mandatory: bool) -> bytes:  # noqa: FBT001
    """Return the frame of basic.publish; it is the same for every message to (exchange, key)."""
    payload = b"".join(
        (
            PUBLISH.to_bytes(4, "big"),
            b"\x00\x00",
            short_string(exchange),
            short_string(key),
            bytes((mandatory,)),
        )
    )
    return _FRAME.pack(METHOD, channel, len(payload)) + payload + END


def content_frames(channel: int, properties: bytes, body: bytes, frame_max: int) -> bytes:
    """Return the header frame and the body frames of one message, as one piece."""
    size = len(body)
    head = _CONTENT.pack(HEADER, channel, 12 + len(properties), 60, 0, size)
    room = frame_max - OVERHEAD
    if 0 < size <= room:
        return b"".join((head, properties, END, _FRAME.pack(BODY, channel, size), body, END))
    return b"".join((head, properties, END, *_body_frames(channel, body, room)))


def _body_frames(channel: int, body: bytes, room: int) -> Iterator[bytes]:
    for at in range(0, len(body), room):
        part = body[at : at + room]
        yield _FRAME.pack(BODY, channel, len(part))
        yield part
        yield END


def encode_ack(channel: int, tag: int, *, multiple: bool = False) -> bytes:
    """Return the frame of basic.ack."""
    return _ACK_FRAME.pack(METHOD, channel, 13, ACK, tag, multiple, END)


def encode_reject(channel: int, tag: int, *, requeue: bool) -> bytes:
    """Return the frame of basic.reject."""
    return _ACK_FRAME.pack(METHOD, channel, 13, REJECT, tag, requeue, END)


class Deliver(NamedTuple):
    """The arguments of basic.deliver."""

    consumer_tag: str
    delivery_tag: int
    redelivered: bool
    exchange: str
    routing_key: str


def decode_deliver(data: bytes, at: int, end: int) -> Deliver:
    """Return the arguments of the basic.deliver with the payload ``data[at:end]``."""
    tag_end = at + 5 + data[at + 4]
    delivery_tag, redelivered = _TAG.unpack_from(data, tag_end)
    exchange, key = _address(data[tag_end + 9 : end])
    return Deliver(_name(data[at + 5 : tag_end]), delivery_tag, redelivered != 0, exchange, key)


@lru_cache(maxsize=1024)
def _name(data: bytes) -> str:
    """Return text that is the same for many messages."""
    return data.decode("utf-8", "surrogateescape")


@lru_cache(maxsize=1024)
def _address(data: bytes) -> tuple[str, str]:
    """Return exchange and key; they are the same for many messages."""
    exchange, at = _short_at(data, 0)
    return exchange, _short_at(data, at)[0]


class Confirm(NamedTuple):
    """What the broker says of publishes: taken (or refused: nack), this one or all up to it."""

    tag: int
    multiple: bool
    nack: bool


def decode_confirm(data: bytes, at: int) -> Confirm:
    """Return the basic.ack or basic.nack from the broker whose payload begins at *at*."""
    tag, bits = _TAG.unpack_from(data, at + 4)
    nack = data[at + 3] == NACK & 0xFF
    return Confirm(tag, bool(bits & 1), nack)
