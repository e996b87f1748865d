"""AMQP field values and tables: Python objects to bytes and back (AMQP 0-9-1, 4.2.5).

The type letters are RabbitMQ's, which differ from the specification in a few places
(https://www.rabbitmq.com/amqp-0-9-1-errata, section 3).
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from postage.broker.wire.exceptions import SyntaxFault

__all__ = [
    "EncodedValue",
    "Long",
    "Timestamp",
    "decode_table",
    "encode_table",
    "encoded_values",
    "long_at",
    "long_long_at",
    "long_string",
    "octet_at",
    "short_at",
    "short_string",
]

MAX_DEPTH = 16
"""Levels of tables in tables that are decoded; more could exhaust Python's stack."""


class Timestamp(int):
    """Seconds since the epoch, in a table."""


class Long(int):
    """An integer that takes 8 bytes in a table, however small it is, as RabbitMQ's counts do."""

    __slots__ = ()


class EncodedValue(bytes):
    """A value of a table as it came: the letter of its type, and its bytes.

    It is encoded as it is.  A decoded value forgets the size of an integer and whether a string was
    text or bytes.
    """

    __slots__ = ()

    @property
    def decoded(self) -> Any:
        """The value itself."""
        return _decode(self, 0, 0)[0]


def short_string(value: str | bytes) -> bytes:
    """Return *value*, cut at 255 bytes, after one byte with its length."""
    data = _bytes(value)[:255]
    return bytes((len(data),)) + data


def long_string(value: str | bytes) -> bytes:
    """Return *value* after four bytes with its length."""
    data = _bytes(value)
    return len(data).to_bytes(4, "big") + data


def encode_table(table: dict[str, Any]) -> bytes:
    """Return *table* as bytes after four bytes with their length."""
    return long_string(b"".join(short_string(k) + _encode(v) for k, v in table.items()))


def decode_table(data: bytes, at: int, depth: int = 0) -> tuple[dict[str, Any], int]:
    """Return the table at offset *at* of *data*, and its end; raise `SyntaxFault`."""
    end = _end_of_block(data, at, depth)
    at, table = at + 4, {}
    while at < end:
        name, at = short_at(data, at)
        table[name], at = _decode(data, at, depth)
    if at != end:
        raise SyntaxFault("a field of a table runs over its end")
    return table, end


def encoded_values(data: bytes, at: int) -> tuple[dict[str, EncodedValue], int]:
    """Return names and encoded values of the table at offset *at* of *data*, and its end.

    Raises `SyntaxFault` where `decode_table` does.
    """
    end = _end_of_block(data, at, 0)
    at, table = at + 4, {}
    while at < end:
        name, start = short_at(data, at)
        at = _decode(data, start, 0)[1]
        table[name] = EncodedValue(data[start:at])
    if at != end:
        raise SyntaxFault("a field of a table runs over its end")
    return table, end


def short_at(data: bytes, at: int) -> tuple[str, int]:
    """Return the short string at offset *at* of *data*, and its end; raise `SyntaxFault`."""
    if at < len(data):
        start = at + 1
        end = start + data[at]
        if end <= len(data):
            return data[start:end].decode("utf-8", "surrogateescape"), end
    raise SyntaxFault("a short string runs over the end")


def long_at(data: bytes, at: int) -> tuple[bytes, int]:
    """Return the long string at offset *at* of *data*, and its end; raise `SyntaxFault`."""
    end = _end_of_block(data, at, 0)
    return data[at + 4 : end], end


def octet_at(data: bytes, at: int) -> tuple[int, int]:
    """Return the octet at offset *at* of *data*, and its end; raise `SyntaxFault`."""
    if at >= len(data):
        raise SyntaxFault("a header ends in mid-property")
    return data[at], at + 1


def long_long_at(data: bytes, at: int) -> tuple[int, int]:
    """Return the 8-byte integer at offset *at* of *data*, and its end; raise `SyntaxFault`."""
    if at + 8 > len(data):
        raise SyntaxFault("a header ends in mid-property")
    return int.from_bytes(data[at : at + 8], "big"), at + 8


def _end_of_block(data: bytes, at: int, depth: int) -> int:
    if depth > MAX_DEPTH:
        raise SyntaxFault(f"tables nest deeper than {MAX_DEPTH} levels")
    end = at + 4 + int.from_bytes(data[at : at + 4], "big")
    if at + 4 > len(data) or end > len(data):
        raise SyntaxFault("a table or long string runs over the end")
    return end


def _bytes(value: str | bytes) -> bytes:
    return value if isinstance(value, bytes) else value.encode("utf-8", "surrogateescape")


# --- single values

_NUMBERS = {
    "b": struct.Struct(">b"),
    "B": struct.Struct(">B"),
    "s": struct.Struct(">h"),
    "u": struct.Struct(">H"),
    "I": struct.Struct(">i"),
    "i": struct.Struct(">I"),
    "L": struct.Struct(">q"),
    "f": struct.Struct(">f"),
    "d": struct.Struct(">d"),
}
_DECIMAL = struct.Struct(">Bi")


def _decode(data: bytes, at: int, depth: int) -> tuple[Any, int]:
    letter = data[at : at + 1].decode("latin-1")
    at += 1
    number = _NUMBERS.get(letter)
    try:
        if number is not None:
            return number.unpack_from(data, at)[0], at + number.size
        return _DECODERS[letter](data, at, depth)
    except (KeyError, struct.error):
        raise SyntaxFault(f"a field of type {letter!r} cannot be read") from None


def _decode_array(data: bytes, at: int, depth: int) -> tuple[list[Any], int]:
    end = _end_of_block(data, at, depth)
    at, values = at + 4, []
    while at < end:
        value, at = _decode(data, at, depth + 1)
        values.append(value)
    if at != end:
        raise SyntaxFault("a value of an array runs over its end")
    return values, end


def _decode_string(data: bytes, at: int, _depth: int) -> tuple[str | bytes, int]:
    value, end = long_at(data, at)
    try:
        return value.decode("utf-8"), end
    except UnicodeDecodeError:
        return value, end


def _decode_decimal(data: bytes, at: int, _depth: int) -> tuple[Decimal, int]:
    scale, value = _DECIMAL.unpack_from(data, at)
    return Decimal(value).scaleb(-scale), at + _DECIMAL.size


def _decode_timestamp(data: bytes, at: int, _depth: int) -> tuple[Timestamp, int]:
    if at + 8 > len(data):
        raise SyntaxFault("a timestamp runs over the end")
    return Timestamp(int.from_bytes(data[at : at + 8], "big")), at + 8


def _decode_long(data: bytes, at: int, _depth: int) -> tuple[Long, int]:
    return Long(_NUMBERS["L"].unpack_from(data, at)[0]), at + 8


_DECODERS: dict[str, Callable[[bytes, int, int], tuple[Any, int]]] = {
    "t": lambda data, at, _: (struct.unpack_from(">?", data, at)[0], at + 1),
    "V": lambda _data, at, _: (None, at),
    "S": _decode_string,
    "l": _decode_long,
    "x": lambda data, at, _: long_at(data, at),
    "A": _decode_array,
    "F": lambda data, at, depth: decode_table(data, at, depth + 1),
    "T": _decode_timestamp,
    "D": _decode_decimal,
}


def _encode(value: Any) -> bytes:
    for type_, encoder in _ENCODERS:
        if isinstance(value, type_):
            return encoder(value)
    raise TypeError(f"{type(value).__name__} cannot be encoded in an AMQP table")


def _encode_int(value: int) -> bytes:
    if -(1 << 31) <= value < 1 << 31:
        return b"I" + value.to_bytes(4, "big", signed=True)
    return b"l" + value.to_bytes(8, "big", signed=True)


def _encode_decimal(value: Decimal) -> bytes:
    scale = max(0, -int(value.as_tuple().exponent))
    return b"D" + _DECIMAL.pack(scale, int(value.scaleb(scale)))


# The first match wins: bool, Timestamp and Long are subclasses of int, EncodedValue of bytes.
_ENCODERS: list[tuple[type | tuple[type, ...], Callable[[Any], bytes]]] = [
    (EncodedValue, bytes),
    (bool, lambda value: b"t" + bytes((value,))),
    (Long, lambda value: b"l" + int(value).to_bytes(8, "big", signed=True)),
    (Timestamp, lambda value: b"T" + int(value).to_bytes(8, "big")),
    (int, _encode_int),
    (float, lambda value: b"d" + struct.pack(">d", value)),
    (str, lambda value: b"S" + long_string(value)),
    (bytes, lambda value: b"x" + long_string(value)),
    (dict, lambda value: b"F" + encode_table(value)),
    ((list, tuple), lambda value: b"A" + long_string(b"".join(map(_encode, value)))),
    (type(None), lambda _: b"V"),
    (Decimal, _encode_decimal),
]
