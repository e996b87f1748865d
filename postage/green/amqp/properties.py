"""The properties of messages, encoded and decoded lazily.

Property tests compare both directions byte for byte with pika's codec.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import pika.data

from postage.errors import MalformedMessage, SettingsError
from postage.foreign_text import brief
from postage.protocol import PROPERTIES, PROPERTY_FLAGS, SEND_ID
from postage.values import value_error

__all__ = [
    "Properties",
    "PropertiesTemplate",
    "added",
    "correlation_id_of",
    "encoded_fields",
    "encoded_table",
    "send_id_of",
    "short_string",
    "short_string_at",
]


class Properties:
    """The properties of a message, as attributes; None where absent.

    *headers* is a table, *timestamp* is in seconds since the epoch, *expiration* is in milliseconds
    as text.  Properties that were received stay encoded until one of them is read.
    """

    NAMES = tuple(name for name, _ in PROPERTIES)

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
        if not PROPERTY_FLAGS.keys() >= values.keys():
            unknown = ", ".join(values.keys() - PROPERTY_FLAGS.keys())
            raise TypeError(f"no such property: {unknown}")
        if "headers" in values:
            values["_table"] = values.pop("headers")
        self.__dict__ = values

    def __getattr__(self, name: str) -> Any:
        """Decode all properties when one is first read; then they are plain attributes."""
        if name not in _ABSENT:
            raise AttributeError(f"messages have no property {name!r}")
        values, known = _ABSENT.copy(), self.__dict__
        if "_wire" in known:
            with _refusing("properties"):
                _decode(known["_wire"], values)
        values.update(known)
        values.pop("_wire", None)
        self.__dict__ = values
        return values[name]

    @property
    def headers(self) -> dict[str, Any] | None:
        """The headers table, or None; raises `MalformedMessage` if it cannot be decoded."""
        if isinstance(self._table, bytes):
            with _refusing("headers"):
                table: dict[str, Any] = pika.data.decode_table(self._table, 0)[0]
            self._table = table
        return self._table

    @headers.setter
    def headers(self, table: dict[str, Any] | None) -> None:
        self._table = table

    @property
    def send_id(self) -> str | None:
        """An id that all tries to send this message have, and no other message: see `SEND_ID`."""
        if self._table is not None:
            id_ = (self.headers or {}).get(SEND_ID)
            if isinstance(id_, str):
                return id_
        return self.message_id

    def as_dict(self) -> dict[str, Any]:
        """Return the properties that are present."""
        return {n: v for n in self.NAMES if (v := getattr(self, n)) is not None}

    def __eq__(self, other: object) -> bool:
        """Compare all properties."""
        return isinstance(other, Properties) and self.as_dict() == other.as_dict()

    __hash__ = None  # type: ignore[assignment]  # the values can change

    def __repr__(self) -> str:
        return f"Properties({', '.join(f'{n}={brief(v)}' for n, v in self.as_dict().items())})"

    def encode(self) -> bytes:
        """Return the flags and values of a header frame."""
        values = self.__dict__
        if len(values) == 1 and "_wire" in values:
            wire: bytes = values["_wire"]
            return wire
        present = {name: v for name in _ABSENT if (v := getattr(self, name)) is not None}
        flags, encoders = _encoders(tuple(present))
        return flags + b"".join([encode(present[name]) for name, encode in encoders])

    @classmethod
    def decode(cls, wire: bytes) -> Properties:
        """Return properties from the flags and values *wire* of a header frame.

        If they cannot be decoded, reading any of them raises `MalformedMessage`.
        """
        self = cls.__new__(cls)
        self._wire = wire
        return self

    @classmethod
    def decode_now(cls, wire: bytes) -> Properties:
        """Do `decode` for a caller that reads a property at once, which costs less so."""
        self = cls.__new__(cls)
        try:  # `_refusing` would cost each message time
            if wire[0] & _UP_TO_ID == _TYPE_AND_ID and len(wire) <= _SHORT:
                at = 3 + wire[2]
                end = at + 1 + wire[at]
                self.__dict__ = values = _values_around_id(wire[:at], wire[end:]).copy()
                values["correlation_id"] = wire[at + 1 : end].decode("utf-8", "surrogateescape")
            else:
                self.__dict__ = values = _ABSENT.copy()
                _decode(wire, values)
        except (IndexError, ValueError) as exc:
            raise _malformed("properties", exc) from exc
        return self

    @classmethod
    def from_pika(cls, properties: Any) -> Properties:
        """Return a copy of pika's ``BasicProperties``."""
        return cls(**{name: getattr(properties, name) for name in cls.NAMES})


class PropertiesTemplate:
    """Encodes properties of which only one, *own*, differs with each message.

    The encoded values of the *common* ones are cached, which makes a publish cheaper by a sixth.
    """

    def __init__(self, own: str, *common: str) -> None:
        self._own, self._common = own, common
        # This also pays with a timestamp among them, which changes only once a second.
        self._around = lru_cache(maxsize=32)(self._encode_around)

    def render(self, own: str, *common: str | int) -> bytes:
        """Return encoded properties with these values, in the order of the template's names."""
        before, after = self._around(common)
        return before + short_string(own) + after

    def _encode_around(self, common: tuple[Any, ...]) -> tuple[bytes, bytes]:
        """Return the bytes before and after the value that differs."""
        values = dict(zip(self._common, common, strict=True))
        flags, encoders = _encoders((self._own, *values))
        names = [name for name, _ in encoders]
        parts = [b"" if name == self._own else encode(values[name]) for name, encode in encoders]
        place = names.index(self._own)
        return flags + b"".join(parts[:place]), b"".join(parts[place:])


def added(wire: bytes, more: dict[str, Any]) -> bytes:
    """Return the encoded properties *wire* with those of *more*, which replace others."""
    if more.keys() == {"headers"}:  # as nearly always: headers of traces
        flags = wire[0] << 8 | wire[1]
        if not flags & _UP_TO_HEADERS:
            at = 3 + wire[2] if flags & PROPERTY_FLAGS["content_type"] else 2
            flags |= PROPERTY_FLAGS["headers"]
            table = _encode_table(more["headers"])
            return b"".join((flags.to_bytes(2, "big"), wire[2:at], table, wire[at:]))
    properties = Properties.decode(wire)
    for name, value in more.items():
        setattr(properties, name, value)
    return properties.encode()


def correlation_id_of(wire: bytes) -> str | None:
    """Return the correlation id in the properties *wire*, at a third of the cost for most replies.

    Raises `MalformedMessage` if one of the properties cannot be decoded.
    """
    try:
        if wire[0] == _TYPE_AND_ID and not wire[1]:  # no others
            at = 3 + wire[2]
            return wire[at + 1 : at + 1 + wire[at]].decode("utf-8", "surrogateescape")
    except IndexError as exc:
        raise _malformed("properties", exc) from exc
    return Properties.decode_now(wire).correlation_id


def send_id_of(properties: Properties | bytes) -> str | None:
    """Return the `Properties.send_id` of *properties*, encoded or not."""
    if isinstance(properties, bytes):
        properties = Properties.decode(properties)
    return properties.send_id


# --- values (4.2.5)

_LENGTHS = [bytes((size,)) for size in range(256)]


def short_string(text: str) -> bytes:
    """Return *text* with its length before it; raise `SettingsError` over 255 bytes."""
    try:
        data = text.encode("utf-8", "surrogateescape")
        return _LENGTHS[len(data)] + data
    except IndexError:
        raise SettingsError(f"longer than AMQP's 255 bytes: {text[:60]!r}...") from None
    except (AttributeError, TypeError, UnicodeEncodeError):
        raise value_error("a name or key", "a text that UTF-8 can hold", text) from None


def short_string_at(data: bytes, at: int) -> tuple[str, int]:
    """Return the short string at *at*, and where it ends."""
    end = at + 1 + data[at]
    return data[at + 1 : end].decode("utf-8", "surrogateescape"), end


def _table_at(data: bytes, at: int) -> tuple[bytes, int]:
    end = at + 4 + int.from_bytes(data[at : at + 4], "big")
    if end > len(data):
        raise ValueError("the table is cut short")
    return data[at:end], end


_SIZES = {
    **dict.fromkeys("btB", 1),
    **dict.fromkeys("suU", 2),
    **dict.fromkeys("iIf", 4),
    **dict.fromkeys("lLdT", 8),
    "D": 5,
    "V": 0,
}
"""The bytes of the values of a table that have no length before them, by their type."""


def encoded_fields(wire: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield the name of each header in the properties *wire*, and its bytes as the sender wrote it.

    pika cannot be asked: it decodes a float as an integer, and forgets the sizes of integers.
    Raises `MalformedMessage`.
    """
    with _refusing("headers"):
        data, at = Properties.decode(wire)._table or bytes(4), 4  # noqa: SLF001 - it is ours
        assert isinstance(data, bytes)
        while at < len(data):
            begin = at
            name, at = short_string_at(data, at)
            size = _SIZES.get(chr(data[at]))
            at += 1
            if size is None:  # a text, bytes, a table or a list
                size = 4 + int.from_bytes(data[at : at + 4], "big")
            at += size
            yield name, data[begin:at]


def encoded_table(fields: Iterable[bytes], more: dict[str, Any]) -> bytes:
    """Return a table with the encoded *fields*, and with *more*."""
    data = b"".join(fields) + _encode_table(more)[4:]
    return struct.pack(">I", len(data)) + data


def _malformed(what: str, error: Exception) -> MalformedMessage:
    return MalformedMessage(f"its {what} cannot be decoded ({type(error).__name__}: {error})")


@contextmanager
def _refusing(what: str) -> Iterator[None]:
    """Raise `MalformedMessage` for anything that decoding *what* raises."""
    try:
        yield
    except Exception as exc:  # pika raises many kinds, and RecursionError for deep tables
        raise _malformed(what, exc) from exc


def _encode_table(table: dict[str, Any] | bytes) -> bytes:
    if isinstance(table, bytes):
        return table  # still encoded, as it was received
    pieces: list[bytes] = []
    pika.data.encode_table(pieces, table)
    return b"".join(pieces)


_ENCODE: dict[str, Any] = {
    "shortstr": short_string,
    "table": _encode_table,
    "octet": struct.Struct(">B").pack,
    "timestamp": struct.Struct(">Q").pack,
}
_DECODE: dict[str, Any] = {
    "shortstr": short_string_at,
    "table": _table_at,
    "octet": lambda data, at: (data[at], at + 1),
    "timestamp": lambda data, at: (int.from_bytes(data[at : at + 8], "big"), at + 8),
}
# For each property in the order of the wire: its flag, its attribute, its type.
_LAYOUT = [
    (PROPERTY_FLAGS[name], "_table" if name == "headers" else name, type_)
    for name, type_ in PROPERTIES
]
_UNKNOWN_FLAGS = 0xFFFF - sum(PROPERTY_FLAGS.values())
_ABSENT: dict[str, Any] = dict.fromkeys(name for _, name, _ in _LAYOUT)


@lru_cache(maxsize=1024)
def _encoders(present: tuple[str, ...]) -> tuple[bytes, list[tuple[str, Any]]]:
    """Return the flags of the attributes *present*, and the encoder of each, in wire order."""
    layout = [entry for entry in _LAYOUT if entry[1] in present]
    flags = sum(flag for flag, _, _ in layout)
    return flags.to_bytes(2, "big"), [(name, _ENCODE[type_]) for _, name, type_ in layout]


@lru_cache(maxsize=1024)
def _decoders(flags: int) -> list[tuple[str, Any]]:
    """Return the attributes whose bits *flags* has, and the decoder of each, in wire order."""
    if flags & _UNKNOWN_FLAGS:
        raise ValueError(f"there are no properties for the flags {flags:#06x}")
    return [(name, _DECODE[type_]) for flag, name, type_ in _LAYOUT if flags & flag]


# Properties that would stand between the content type and the headers, or are the headers.
_UP_TO_HEADERS = PROPERTY_FLAGS["content_encoding"] | PROPERTY_FLAGS["headers"]
# Of the first byte of the flags: the properties up to the correlation id.  Calls and replies have
# but two of them.
_UP_TO_ID = 0x100 - (PROPERTY_FLAGS["correlation_id"] >> 8)
_TYPE_AND_ID = (PROPERTY_FLAGS["content_type"] | PROPERTY_FLAGS["correlation_id"]) >> 8
_SHORT = 256
"""Bytes of the longest properties that are kept, so that peers cannot fill our memory."""


@lru_cache(maxsize=256)
def _values_around_id(before: bytes, after: bytes) -> dict[str, Any]:
    """Return properties without their correlation id, which stands between these bytes.

    The calls of a producer differ only in their ids.
    """
    values = _ABSENT.copy()
    _decode(before + b"\0" + after, values)
    return values


def _decode(wire: bytes, values: dict[str, Any]) -> None:
    """Put the attributes that are in *wire* into *values*."""
    at = 2
    for name, decode in _decoders(wire[0] << 8 | wire[1]):
        if decode is short_string_at:  # most are; inlined, because a call would double the cost
            end = at + 1 + wire[at]
            values[name] = wire[at + 1 : end].decode("utf-8", "surrogateescape")
            at = end
        else:
            values[name], at = decode(wire, at)
