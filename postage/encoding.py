"""Encoders: Python objects to the body of an AMQP message and back.

An encoder is a class with `encode`, `decode` and `content_type`; assign another one to
``encoder_class`` of a producer or consumer to replace JSON.
"""

from __future__ import annotations

import enum
import json
import sys
from collections.abc import Iterator
from typing import Any, NoReturn

from postage import fastjson
from postage.errors import DecodingError, EncodingError

__all__ = ["Encoder", "JsonEncoder", "body_of"]


class Encoder:
    """Passes bodies through as they are; the base of every encoder."""

    content_type = ""

    @classmethod
    def encode(cls, data: Any) -> Any:
        """Return *data* as ``str`` or ``bytes``; raise `EncodingError` where it cannot be sent."""
        return data

    @classmethod
    def decode(cls, string: Any) -> Any:
        """Return the object in *string* (``bytes`` from the wire); raise `DecodingError`."""
        return string


class JsonEncoder(Encoder):
    """JSON (RFC 8259): UTF-8 only, no NaN.

    Sets are sent as lists, members of enums as their values, UUIDs as their text.

    By the standard library: what is sent is byte for byte what 1.2.1 sent.  With the extra ``fast``
    by `fastjson`: the same values, but the text has no blanks then, and is not all ASCII.
    """

    content_type = "application/json"
    max_depth = 200
    """How deep lists and objects may nest.  Copying for each handler takes two Python frames a
    level, of the 1,000 that there are."""

    @classmethod
    def encode(cls, data: Any) -> str:
        """Return *data* as JSON text; `EncodingError` names the key of what cannot be sent."""
        text = fastjson.encode(data) if fastjson.AVAILABLE else None
        if text is None:
            text = _encoded(data).encode()
        if cls._is_too_deep(text, data):
            key = _way_down(data)
            raise EncodingError(
                f"cannot send {key} as JSON: it nests deeper than {cls.max_depth} levels", key=key
            )
        return text.decode()

    @classmethod
    def decode(cls, string: str | bytes) -> Any:
        """Return the object in *string*; `DecodingError` when it is not JSON in UTF-8."""
        try:
            data = string.encode() if isinstance(string, str) else bytes(string)
            value = _decoded(data)
        except (ValueError, RecursionError) as exc:
            raise DecodingError(f"not JSON in UTF-8: {str(exc)[:200]}") from exc
        if cls._is_too_deep(data, value):
            raise DecodingError(f"nested deeper than {cls.max_depth} levels")
        return value

    @classmethod
    def _is_too_deep(cls, text: bytes, value: Any) -> bool:
        # Counting brackets is far cheaper than walking, and settles it for every ordinary body.
        if len(text) < 2 * cls.max_depth:
            return False
        brackets = text.count(b"[") + text.count(b"{")
        return brackets > cls.max_depth and _depth(value) > cls.max_depth


def body_of(encoder: Encoder, message: object) -> bytes:
    """Return *message* as the bytes of a body; raise `EncodingError` if it cannot be sent."""
    encoded = encoder.encode(message)
    if isinstance(encoded, bytes):
        return encoded
    if not isinstance(encoded, str):
        name = type(encoder).__name__
        raise EncodingError(f"{name}.encode must return str or bytes, not {type(encoded).__name__}")
    try:
        return encoded.encode("utf-8")
    except UnicodeEncodeError as exc:
        raise EncodingError(f"the body is no text that UTF-8 can hold: {exc}") from exc


def _as_json(value: object) -> Any:
    """Return what JSON has for a value that it has not."""
    if isinstance(value, (set, frozenset)):
        return list(value)
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, getattr(sys.modules.get("uuid"), "UUID", ())):
        return str(value)  # who has one has imported it
    raise TypeError(f"{type(value).__name__} is not a JSON type")


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


# Made once: json.dumps and json.loads build theirs at each call as soon as an option is given.
_encoder = json.JSONEncoder(allow_nan=False, default=_as_json)
_decoder = json.JSONDecoder(parse_constant=_refuse_constant)


def _encoded(data: Any) -> str:
    try:
        return _encoder.encode(data)
    except (TypeError, ValueError, RecursionError) as exc:
        key = next(_culprits(data), "")
        raise EncodingError(f"cannot send {key or 'this'} as JSON: {exc}", key=key) from exc


def _decoded(data: bytes) -> Any:
    found = fastjson.decode(data) if fastjson.AVAILABLE else None
    return _decoder.decode(data.decode("utf-8")) if found is None else found[0]


def _depth(value: Any) -> int:
    """Return how deep *value* nests, level by level: no recursion, whatever its depth."""
    depth, level = 0, [value]
    while level := [node for node in level if isinstance(node, _CONTAINERS)]:
        depth += 1
        level = [part for node in level for _, part in _parts(node)]
    return depth


_CONTAINERS = (dict, list, tuple, set, frozenset)


def _parts(value: Any, path: str = "") -> list[tuple[str, Any]]:
    """Return what *value* holds, each with its dotted key."""
    if isinstance(value, dict):
        return [(f"{path}.{key}" if path else str(key), part) for key, part in value.items()]
    return [(f"{path}[{index}]", part) for index, part in enumerate(value)]


def _way_down(value: Any, steps: int = 3) -> str:
    """Return the dotted key of the first *steps* towards the deepest part of *value*."""
    path = ""
    for _ in range(steps):
        path, value = max(_parts(value, path), key=lambda named: _depth(named[1]))
    return path


def _culprits(value: Any, path: str = "", above: tuple[Any, ...] = ()) -> Iterator[str]:
    """Yield the dotted keys of the values which JSON cannot hold, the innermost ones first."""
    is_loop = any(value is each for each in above)
    if isinstance(value, _CONTAINERS) and not is_loop and len(above) < JsonEncoder.max_depth:
        for name, part in _parts(value, path):
            yield from _culprits(part, name, (*above, value))
    if not _is_sendable(value):
        yield path


def _is_sendable(value: Any) -> bool:
    try:
        _encoder.encode(value)
    except (TypeError, ValueError, RecursionError):
        return False
    return True
