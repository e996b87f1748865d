"""The methods of AMQP 0-9-1 with RabbitMQ's extensions, as a table, and their codec.

Each line of the table has the class id, the method id, the name, and the arguments in order with
their types.  A name in brackets is reserved: it is read and ignored, and written as zero.  A rawtable
is a table that is read as bytes: its reader decides whether and when to decode it.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from postage.broker.wire.exceptions import SyntaxFault
from postage.broker.wire.fields import (
    decode_table,
    encode_table,
    long_at,
    long_string,
    short_at,
    short_string,
)
from postage.protocol import ACK, FRAME_END, FRAME_HEAD, METHOD, PUBLISH

__all__ = ["METHODS", "Method", "MethodCall", "decode", "decode_publish", "encode"]

_TABLE = """
10 10 connection.start version_major:octet version_minor:octet server_properties:table mechanisms:longstr locales:longstr
10 11 connection.start_ok client_properties:rawtable mechanism:shortstr response:longstr locale:shortstr
10 20 connection.secure challenge:longstr
10 21 connection.secure_ok response:longstr
10 30 connection.tune channel_max:short frame_max:long heartbeat:short
10 31 connection.tune_ok channel_max:short frame_max:long heartbeat:short
10 40 connection.open virtual_host:shortstr [capabilities]:shortstr [insist]:bit
10 41 connection.open_ok [known_hosts]:shortstr
10 50 connection.close reply_code:short reply_text:shortstr class_id:short method_id:short
10 51 connection.close_ok
10 60 connection.blocked reason:shortstr
10 61 connection.unblocked
10 70 connection.update_secret new_secret:longstr reason:shortstr
10 71 connection.update_secret_ok
20 10 channel.open [out_of_band]:shortstr
20 11 channel.open_ok [channel_id]:longstr
20 20 channel.flow active:bit
20 21 channel.flow_ok active:bit
20 40 channel.close reply_code:short reply_text:shortstr class_id:short method_id:short
20 41 channel.close_ok
40 10 exchange.declare [ticket]:short exchange:shortstr type:shortstr passive:bit durable:bit auto_delete:bit internal:bit nowait:bit arguments:table
40 11 exchange.declare_ok
40 20 exchange.delete [ticket]:short exchange:shortstr if_unused:bit nowait:bit
40 21 exchange.delete_ok
40 30 exchange.bind [ticket]:short destination:shortstr source:shortstr routing_key:shortstr nowait:bit arguments:table
40 31 exchange.bind_ok
40 40 exchange.unbind [ticket]:short destination:shortstr source:shortstr routing_key:shortstr nowait:bit arguments:table
40 51 exchange.unbind_ok
50 10 queue.declare [ticket]:short queue:shortstr passive:bit durable:bit exclusive:bit auto_delete:bit nowait:bit arguments:table
50 11 queue.declare_ok queue:shortstr message_count:long consumer_count:long
50 20 queue.bind [ticket]:short queue:shortstr exchange:shortstr routing_key:shortstr nowait:bit arguments:table
50 21 queue.bind_ok
50 30 queue.purge [ticket]:short queue:shortstr nowait:bit
50 31 queue.purge_ok message_count:long
50 40 queue.delete [ticket]:short queue:shortstr if_unused:bit if_empty:bit nowait:bit
50 41 queue.delete_ok message_count:long
50 50 queue.unbind [ticket]:short queue:shortstr exchange:shortstr routing_key:shortstr arguments:table
50 51 queue.unbind_ok
60 10 basic.qos prefetch_size:long prefetch_count:short global_:bit
60 11 basic.qos_ok
60 20 basic.consume [ticket]:short queue:shortstr consumer_tag:shortstr no_local:bit no_ack:bit exclusive:bit nowait:bit arguments:table
60 21 basic.consume_ok consumer_tag:shortstr
60 30 basic.cancel consumer_tag:shortstr nowait:bit
60 31 basic.cancel_ok consumer_tag:shortstr
60 40 basic.publish [ticket]:short exchange:shortstr routing_key:shortstr mandatory:bit immediate:bit
60 50 basic.return reply_code:short reply_text:shortstr exchange:shortstr routing_key:shortstr
60 60 basic.deliver consumer_tag:shortstr delivery_tag:longlong redelivered:bit exchange:shortstr routing_key:shortstr
60 70 basic.get [ticket]:short queue:shortstr no_ack:bit
60 71 basic.get_ok delivery_tag:longlong redelivered:bit exchange:shortstr routing_key:shortstr message_count:long
60 72 basic.get_empty [cluster_id]:shortstr
60 80 basic.ack delivery_tag:longlong multiple:bit
60 90 basic.reject delivery_tag:longlong requeue:bit
60 100 basic.recover_async requeue:bit
60 110 basic.recover requeue:bit
60 111 basic.recover_ok
60 120 basic.nack delivery_tag:longlong multiple:bit requeue:bit
85 10 confirm.select nowait:bit
85 11 confirm.select_ok
90 10 tx.select
90 11 tx.select_ok
90 20 tx.commit
90 21 tx.commit_ok
90 30 tx.rollback
90 31 tx.rollback_ok
"""

_ID = struct.Struct(">HH")
LONGEST_CACHED = 256
"""Bytes of a basic.publish that is kept decoded: a longer one would cost more than it saves."""
_INTEGERS = {"octet": 1, "short": 2, "long": 4, "longlong": 8}


@dataclass(frozen=True)
class Method:
    """One method of the protocol: its ids, its name, and pairs of argument and type in order."""

    class_id: int
    method_id: int
    name: str
    arguments: tuple[tuple[str, str], ...]

    @property
    def ids(self) -> tuple[int, int]:
        """Class id and method id, which a close quotes."""
        return self.class_id, self.method_id


_SECRETS = frozenset({"response", "new_secret"})
"""Arguments that hold passwords: of connection.start_ok, secure_ok and update_secret."""


class MethodCall:
    """A method that one side called, with its arguments as attributes.  It may be cached: read only."""

    def __init__(self, method: Method, arguments: dict[str, Any]) -> None:
        self.method: Method
        arguments["method"] = method
        self.__dict__ = arguments  # faster than copying them

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"{self.method.name} has no argument {name!r}")

    def __repr__(self) -> str:
        shown = {
            name: "***" if name in _SECRETS else value
            for name, value in vars(self).items()
            if name != "method"
        }
        return f"<{self.method.name} {shown}>"


def _parsed(line: str) -> Method:
    class_id, method_id, name, *arguments = line.split()
    pairs = (argument.split(":") for argument in arguments)
    return Method(int(class_id), int(method_id), name, tuple((a, type_) for a, type_ in pairs))


_ALL = [_parsed(line) for line in _TABLE.strip().splitlines()]
METHODS = {method.name: method for method in _ALL}
_BY_ID = {method.ids: method for method in _ALL}


def decode(payload: bytes) -> MethodCall:
    """Return the method in the *payload* of a method frame; raise `SyntaxFault`."""
    frequent = _FREQUENT.get(payload[:4])
    if frequent is not None:
        return frequent(payload)
    if len(payload) < _ID.size:
        raise SyntaxFault("a method frame without a method")
    method = _BY_ID.get(_ID.unpack_from(payload))
    if method is None:
        raise SyntaxFault(f"method {_ID.unpack_from(payload)} is unknown", 503)
    values: dict[str, Any] = {}
    at, bit = _ID.size, 0
    for name, type_ in method.arguments:
        if type_ == "bit":
            values[name], at, bit = _bit_at(payload, at, bit)
        else:
            at, bit = at + (bit > 0), 0
            values[name], at = _value_at(payload, at, type_)
    if at + (bit > 0) != len(payload):
        raise SyntaxFault(f"{method.name} is longer than its arguments")
    return MethodCall(method, {name: value for name, value in values.items() if name[0] != "["})


# The two most frequent methods are decoded without looking at the table.


def decode_publish(payload: bytes) -> MethodCall:
    """Return the basic.publish in *payload*, cached: clients publish to few addresses."""
    if len(payload) > LONGEST_CACHED:
        return _decoded_publish.__wrapped__(payload)
    return _decoded_publish(payload)


@lru_cache(maxsize=1024)
def _decoded_publish(payload: bytes) -> MethodCall:
    exchange, at = _text_at(payload, 6)
    key, end = short_at(payload, at)  # RabbitMQ does not require UTF-8 here
    if end >= len(payload):
        raise SyntaxFault("a method frame ends in mid-method")
    arguments = {
        "exchange": exchange,
        "routing_key": key,
        "mandatory": payload[end] & 1 != 0,
        "immediate": payload[end] & 2 != 0,
        "address": payload[6:end],
    }
    return MethodCall(METHODS["basic.publish"], arguments)


def _ack(payload: bytes) -> MethodCall:
    if len(payload) < 13:  # noqa: PLR2004 - ids, tag, bits
        raise SyntaxFault("a method frame ends in mid-method")
    tag, bits = _TAG_AND_BITS.unpack_from(payload, 4)
    return MethodCall(_BASIC_ACK, {"delivery_tag": tag, "multiple": bits & 1 != 0})


_BASIC_ACK = METHODS["basic.ack"]
_TAG_AND_BITS = struct.Struct(">QB")
_FREQUENT = {PUBLISH: decode_publish, ACK: _ack}


def _bit_at(payload: bytes, at: int, bit: int) -> tuple[bool, int, int]:
    """Return the bit at *at*; bits in a row share an octet (4.2.5.2)."""
    if at >= len(payload):
        raise SyntaxFault("a method frame ends in mid-method")
    value = bool(payload[at] >> bit & 1)
    return (value, at + 1, 0) if bit == 7 else (value, at, bit + 1)  # noqa: PLR2004 - 8 bits


def _text_at(payload: bytes, at: int) -> tuple[str, int]:
    """Return the short string at *at*; methods must contain UTF-8 (RabbitMQ)."""
    text, end = short_at(payload, at)
    if not text.isascii() and any("\udc80" <= each <= "\udcff" for each in text):
        raise SyntaxFault("Malformed UTF-8 in shortstr")
    return text, end


def _value_at(payload: bytes, at: int, type_: str) -> tuple[Any, int]:
    if type_ in _INTEGERS:
        end = at + _INTEGERS[type_]
        if end > len(payload):
            raise SyntaxFault("a method frame ends in mid-method")
        return int.from_bytes(payload[at:end], "big"), end
    return _READERS[type_](payload, at)


def encode(channel: int, name: str, **arguments: Any) -> bytes:
    """Return the frame of the method *name* with *arguments*."""
    method = METHODS[name]
    parts = [_ID.pack(*method.ids)]
    bits, count = 0, 0
    for argument, type_ in method.arguments:
        value = arguments.get(argument, _ZEROS.get(type_, 0))
        if type_ == "bit":
            bits, count = bits | bool(value) << count, count + 1
            continue
        if count:
            parts.append(bytes((bits,)))
            bits, count = 0, 0
        parts.append(_encoded(value, type_))
    if count:
        parts.append(bytes((bits,)))
    payload = b"".join(parts)
    return FRAME_HEAD.pack(METHOD, channel, len(payload)) + payload + FRAME_END


_ZEROS: dict[str, Any] = {"shortstr": "", "longstr": "", "table": {}, "rawtable": {}}


def _encoded(value: Any, type_: str) -> bytes:
    if type_ in _INTEGERS:
        data: bytes = value.to_bytes(_INTEGERS[type_], "big")
        return data
    return _WRITERS[type_](value)


_READERS: dict[str, Callable[[bytes, int], tuple[Any, int]]] = {
    "shortstr": _text_at,
    "longstr": long_at,
    "table": decode_table,
    "rawtable": long_at,
}
_WRITERS: dict[str, Callable[[Any], bytes]] = {
    "shortstr": short_string,
    "longstr": long_string,
    "table": encode_table,
    "rawtable": encode_table,
}
