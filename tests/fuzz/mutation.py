"""Changes to inputs that keep their structure, so that they get behind the first check.

A change of random bytes in a stream of frames is noticed by the code that cuts it into frames, and
nothing behind that code ever sees it.  So a `Mutator` takes an input apart, changes a part (a
frame, an argument, a property, a value in JSON), and puts it together again.
"""

from __future__ import annotations

import contextlib
import json
import random
import struct
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

from postage.broker.wire.content import decode_properties, encode_properties
from postage.broker.wire.exceptions import SyntaxFault
from postage.broker.wire.fields import Timestamp, decode_table, long_string
from postage.broker.wire.methods import METHODS, decode, encode
from postage.protocol import BODY, FRAME_HEAD, FRAME_OVERHEAD, HEADER, HEARTBEAT, METHOD, PROPERTIES
from tests.broker.fuzzing import frame

__all__ = ["Change", "Mutator", "changed_bytes"]

Change = Callable[[bytes, random.Random], bytes]
"""Returns some bytes with a change that knows nothing of their structure."""

LARGEST = 1 << 16
"""Bytes of an input."""

TEXTS = [
    *("", *"qrefxc", "work", "dead", "ours", "nowhere", "amq.topic", "amq.direct", "amq.gen-1"),
    *("amq.rabbitmq.reply-to", "amq.rabbitmq.reply-to.1.2", "a.b", "#", "*.#.*.#", "#.a.#.b.#"),
    *("abc", "-1", "0", "1e9", "9" * 20, "\0\n\x1b[2J", "\udcff", "é" * 127, "z" * 255, "a." * 120),
    *("rejected", "expired", "maxlen", "postage.receipt", "guest"),
]
NUMBERS = [0, 1, 2, 3, 5, 255, 256, 65535, *((1 << bits) - 1 for bits in (31, 32, 63, 64)), 1 << 63]
SCALARS = [
    *(None, True, False, -1, -(1 << 63), 0.5, float("inf"), float("nan"), b"\xff\0"),
    *(Timestamp(0), Timestamp((1 << 64) - 1), Decimal("0.1"), Decimal(0)),
    *(number for number in NUMBERS if number < 1 << 63),
    *TEXTS,
]
KEYS = [
    *("x-death", "x-delivery-count", "x-first-death-queue", "CC", "BCC", "h", "x-match", "count"),
    *("queue", "reason", "time", "exchange", "routing-keys", "original-expiration", "x-overflow"),
    *("x-message-ttl", "x-expires", "x-max-length", "x-max-length-bytes", "x-priority"),
    *("x-dead-letter-exchange", "x-dead-letter-routing-key", "x-max-priority", "x-queue-type"),
    *("x-single-active-consumer", "x-delivery-limit", "alternate-exchange", "connection.blocked"),
    "capabilities",
]
CHANNELS = [0, 1, 1, 2, 2, 3, 16, 65535, *[0x4001, 0x4002] * 2]
"""Those from 0x4000 on belong to the second client of the target `session`."""
WORDS = ["quorum", "stream", "classic", "reject-publish", "drop-head", "any", "all", "any-with-x"]
JSON_KEYS = [
    *("type", "name", "category", "version", "fingerprint", "content", "_reserved", "parameters"),
    *("value", "message", "group_name", "args", "kwds", "user", "host", "pid"),
]
JSON_TEXTS = [
    *("command", "status", "result", "rpc", "message", "note", "echo", "quit", "restart", "2", "1"),
    *("success", "error", "exception", "\ud800", "\u202e", "\x1b[31m", "__class__", "join_group"),
]


def changed_bytes(data: bytes, draw: random.Random) -> bytes:
    """Change some bytes of *data*, which are of no known structure."""
    for _ in range(draw.choice((1, 1, 1, 2, 4, 16))):
        at = draw.randrange(len(data) + 1)
        after = min(len(data), at + draw.choice((0, 1, 1, 1, 2, 4, 8, 64)))
        new = draw.choice((draw.randbytes(after - at), b"\0", b"\xff", b"\x80", data[at:after] * 2))
        data = data[:at] + new + data[after:]
    return data


_ACTIONS = [*["change"] * 6, "insert", "insert", "repeat", "drop", "move", "readdress"]


class Mutator:
    """Changes the inputs of *target*; *seeds* are its corpus, from which it takes parts."""

    def __init__(self, target: str, seeds: Sequence[bytes], change: Change = changed_bytes) -> None:
        by_target = {"bodies": self._json, "properties": self._properties}
        self._structured = by_target.get(target, self._frames)
        self._change = change
        self._pieces = [piece for seed in seeds for piece in split(seed)]

    def mutate(self, data: bytes, seed: int) -> bytes:
        """Return *data* with a few changes, which *seed* decides."""
        draw = random.Random(seed)
        for _ in range(draw.choice((1, 1, 2, 3, 6))):
            data = (
                self._structured(data, draw) if draw.random() < 0.85 else self._change(data, draw)
            )
        return data[:LARGEST]

    # --- streams

    def _frames(self, data: bytes, draw: random.Random) -> bytes:
        pieces = split(data)
        at = draw.randrange(len(pieces) + 1)
        here = pieces[at : at + 1]
        new: list[bytes] = []  # instead of the piece here
        action = draw.choice(_ACTIONS)
        if action == "change" and here:
            new = [self._frame(here[0], draw)]
        elif action == "insert" and self._pieces:
            first = draw.randrange(len(self._pieces))
            new = [*self._pieces[first : first + draw.choice((1, 1, 2, 3, 8))], *here]
        elif action == "repeat":
            new = here * draw.choice((2, 3, 20, 200))
        elif action == "move":
            del pieces[at : at + 1]
            pieces.insert(draw.randrange(len(pieces) + 1), b"".join(here))
            new = pieces[at : at + 1]
        elif action == "readdress" and here and len(here[0]) >= FRAME_OVERHEAD:
            channel = draw.choice(CHANNELS).to_bytes(2, "big")
            new = [here[0][:1] + channel + here[0][3:]]
        return b"".join((*pieces[:at], *new, *pieces[at + 1 :]))

    def _frame(self, piece: bytes, draw: random.Random) -> bytes:
        if len(piece) < FRAME_OVERHEAD:
            return self._change(piece, draw)
        kind, channel, _ = FRAME_HEAD.unpack_from(piece)
        payload = piece[FRAME_HEAD.size : -1]
        if kind == METHOD and draw.random() < 0.7:
            with contextlib.suppress(SyntaxFault, KeyError):
                return _other_arguments(channel, payload, draw)
        kept = 12 if kind == HEADER else 4 if kind == METHOD else 0
        if kind == HEADER and draw.random() < 0.7:
            return frame(kind, channel, payload[:kept] + self._properties(payload[kept:], draw))
        if draw.random() < 0.1:
            kind = draw.choice((METHOD, HEADER, BODY, HEARTBEAT, 0, 4, 255))
        if draw.random() < 0.1:
            return piece[:3] + draw.randbytes(4) + piece[7:]  # another size than it has
        kept = kept if draw.random() < 0.8 else 0
        return frame(kind, channel, payload[:kept] + self._change(payload[kept:], draw))

    # --- properties

    def _properties(self, data: bytes, draw: random.Random) -> bytes:
        try:
            values = decode_properties(data)
        except SyntaxFault:
            return self._change(data, draw)
        name, type_ = draw.choice((*PROPERTIES, *(("headers", "table"),) * 8))
        if name in values and draw.random() < 0.2:
            del values[name]
        else:
            values[name] = _value(type_, values.get(name), draw)
        with contextlib.suppress(ValueError, OverflowError, struct.error, ArithmeticError):
            return encode_properties(values)
        return self._change(data, draw)

    # --- bodies

    def _json(self, data: bytes, draw: random.Random) -> bytes:
        try:
            value = json.loads(data)
            return json.dumps(_other_json(value, draw), ensure_ascii=draw.random() < 0.9).encode()
        except (ValueError, RecursionError):
            return self._change(data, draw)


def split(data: bytes) -> list[bytes]:
    """Return the frames in *data*; what is no frame is one piece with all that follows it."""
    pieces, at = [], 0
    if data.startswith(b"AMQP"):
        pieces, at = [data[:8]], 8
    while at < len(data):
        after = len(data)
        if at + FRAME_OVERHEAD <= len(data):
            _, _, size = FRAME_HEAD.unpack_from(data, at)
            end = at + size + FRAME_OVERHEAD
            after = end if end <= len(data) and data[end - 1] == 0xCE else after
        pieces.append(data[at:after])
        at = after
    return pieces


# --- arguments and tables


def _other_arguments(channel: int, payload: bytes, draw: random.Random) -> bytes:
    """Return the frame of the method in *payload* with another value of one argument."""
    call = decode(payload)
    arguments = [each for each in METHODS[call.method.name].arguments if each[0][0] != "["]
    values = {name: getattr(call, name) for name, _ in arguments}
    for name, type_ in arguments:
        if type_ == "rawtable":  # which is read as bytes, and written as a table
            values[name] = decode_table(long_string(values[name]), 0)[0]
    if arguments:
        name, type_ = draw.choice((*arguments, *(a for a in arguments if a[1].endswith("table"))))
        values[name] = _value(type_, values[name], draw)
    return encode(channel, call.method.name, **values)


_SIZES = {"octet": 1, "short": 2, "long": 4, "longlong": 8, "timestamp": 8}


def _value(type_: str, old: Any, draw: random.Random) -> Any:
    """Return a value of the type of an argument or a property."""
    if type_.endswith("table"):
        return _table(old if isinstance(old, dict) else {}, draw)
    if type_ == "bit":
        return not old
    if type_ in _SIZES:
        return draw.choice(NUMBERS) % (1 << 8 * _SIZES[type_])
    return draw.choice(TEXTS)


def _table(old: dict[str, Any], draw: random.Random) -> dict[str, Any]:
    """Return *old* with another field, of any type, or without one."""
    table = dict(old)
    name = draw.choice((*table, draw.choice(KEYS), draw.choice(KEYS)))
    if name in table and draw.random() < 0.2:
        del table[name]
    else:
        table[name] = _field(table.get(name), draw)
    return table


def _field(old: Any, draw: random.Random) -> Any:
    kind = draw.randrange(8)
    if isinstance(old, dict) and kind < 5:
        return _table(old, draw)
    if isinstance(old, list) and kind < 5:
        if old and kind < 3:
            at = draw.randrange(len(old))
            return [*old[:at], _field(old[at], draw), *old[at + 1 :]]
        return [*old, *old, _field(None, draw)][:200]
    if kind == 5:
        return _table({}, draw)
    if kind == 6:
        return [old, draw.choice(SCALARS)]
    return draw.choice((*SCALARS, *WORDS, *WORDS))


# --- JSON

_JSON_VALUES = [
    *(None, True, False, 0, -1, 0.5, 1e308, 10**19, 10**400, "", [], {}, "x" * 1000, [[]]),
    {"": {}},
    *JSON_TEXTS,
]


def _other_json(value: Any, draw: random.Random) -> Any:
    """Return *value* with a change somewhere in it."""
    if isinstance(value, dict) and value and draw.random() < 0.8:
        key = draw.choice(list(value))
        action = draw.randrange(8)
        if action == 0:
            return {k: v for k, v in value.items() if k != key}
        if action == 1:
            return {**value, draw.choice((*JSON_KEYS, *JSON_TEXTS)): value[key]}
        return {**value, key: _other_json(value[key], draw)}
    if isinstance(value, list) and value and draw.random() < 0.8:
        at = draw.randrange(len(value))
        return [*value[:at], _other_json(value[at], draw), *value[at + draw.randrange(2) :]]
    if draw.random() < 0.2:
        for _ in range(draw.choice((1, 2, 50, 150, 210))):
            value = draw.choice(([value], {"a": value}))
        return value
    return draw.choice(_JSON_VALUES)
