"""Bodies that are no messages, and strange messages that must do no harm."""

from __future__ import annotations

import codecs
import gzip
import json
import zlib
from collections.abc import Iterator
from typing import Any

from postage import messaging

GOOD: dict[str, Any] = {
    "type": "command",
    "name": "note",
    "category": "message",
    "version": "2",
    "fingerprint": {},
    "content": {"parameters": "good"},
    "_reserved": {},
}
TEXTS = ("type", "name", "category")
#: What a message may lack, or have with a value of another type.
UNREAD = ("version", "fingerprint", "_reserved")
DEEP = 10_000
TOO_DEEP = messaging.JsonEncoder.max_depth + 1


def body(**changed: Any) -> bytes:
    """Return a good message with the values *changed*."""
    return json.dumps(GOOD | changed).encode()


def spliced(parameters: str) -> bytes:
    """Return a good message with this text in place of its parameters, JSON or not."""
    return body().replace(b'"good"', parameters.encode())


def without(key: str) -> bytes:
    """Return a good message without *key*."""
    return json.dumps({k: v for k, v in GOOD.items() if k != key}).encode()


def _no_json() -> Iterator[tuple[str, bytes]]:
    text = body().decode()
    yield "empty", b""
    yield "blank", b" \n"
    yield "a NUL byte", b"\0"
    yield "plain text", b"hello"
    yield "HTML", b"<html></html>"
    yield "a Python literal", repr(GOOD).encode()
    yield "truncated", body()[:-1]
    yield "truncated early", body()[:10]
    yield "two documents", body() * 2
    yield "a trailing comma", body()[:-1] + b",}"
    yield "Latin-1", text.replace("good", "g\xf6\xf6d").encode("latin-1")
    yield "a stray byte", body().replace(b"good", b"go\xffod")
    yield "a surrogate in UTF-8", body().replace(b"good", b"\xed\xa0\x80")
    yield "overlong UTF-8", body().replace(b"good", b"\xc0\xaf")
    yield "UTF-16", text.encode("utf-16")
    yield "UTF-16 without a mark", text.encode("utf-16-be")
    yield "UTF-32", text.encode("utf-32")
    yield "two byte order marks", codecs.BOM_UTF8 + text.encode("utf-8-sig")
    yield "gzip", gzip.compress(body())
    yield "deflate", zlib.compress(body())
    yield "a control character in a string", spliced('"a\nb"')
    yield "NaN", spliced("NaN")
    yield "Infinity", spliced("Infinity")
    yield "-Infinity", spliced("-Infinity")
    yield "NaN deep inside", spliced('[{"a": [1, NaN]}]')
    yield "a number beyond what floats hold", spliced("1e999")
    yield "a negative one deep inside", spliced('[{"a": [1, -1e400]}]')
    yield "a number of 400 digits with a point", spliced("9" * 400 + ".0")
    yield "an integer of 10,000 digits", spliced("9" * 10_000)
    yield "lists 10,000 deep", spliced("[" * DEEP + "]" * DEEP)
    yield "objects 10,000 deep", spliced('{"a":' * DEEP + "1" + "}" * DEEP)
    yield "lists 10,000 deep and nothing else", b"[" * DEEP + b"]" * DEEP
    yield "10,000 brackets never closed", b"[" * DEEP
    yield "lists just too deep", spliced("[" * TOO_DEEP + "]" * TOO_DEEP)
    yield "10 MB of text", b"x" * 10_000_000
    yield "10 MB of brackets", b"[" * 10_000_000
    yield "17 MiB in a good message", spliced('"' + "x" * (17 << 20) + '"')


def _no_message() -> Iterator[tuple[str, bytes]]:
    for text in ("null", "true", "7", "-1.5e3", '"text"', "[]", "{}"):
        yield f"just {text}", text.encode()
    yield "a message in a list", b"[" + body() + b"]"
    yield "a message in an object", b'{"message": ' + body() + b"}"
    for key in [key for key in GOOD if key not in UNREAD]:
        yield from _changed(key)
    for key in TEXTS:
        yield f"{key} a truth value", body(**{key: True})
    for version in ("", "1", "3", "2.0", " 2"):
        yield f"version {version!r}", body(version=version)
    for category in ("", "RPC", "event", "rpc "):
        yield f"category {category!r}", body(category=category)


def _changed(key: str) -> Iterator[tuple[str, bytes]]:
    """Yield good messages but for *key*, which is missing or has a value of another type."""
    other = {"nested": {}} if isinstance(GOOD[key], str) else "text"
    yield f"no {key}", without(key)
    yield f"{key} null", body(**{key: None})
    yield f"{key} a number", body(**{key: 2})
    yield f"{key} a list", body(**{key: [GOOD[key]]})
    yield f"{key} of another kind", body(**{key: other})


BAD: dict[str, bytes] = dict([*_no_json(), *_no_message()])

#: Messages that the handler for "note" takes, or no handler; none of them may do harm.
ODD: dict[str, bytes] = {
    "more keys than seven": body(more=1, __class__="x"),
    "a key given twice": body()[:-1] + b', "name": "note"}',
    "an unknown type": body(type="unknown"),
    "an unknown name": body(name="unknown"),
    "an empty name": body(name=""),
    "a name of 100,000 letters": body(name="n" * 100_000),
    "a name of half a surrogate pair": body(name="\ud800"),
    "the name of an attribute": body(name="consumer"),
    "the name of a private attribute": body(name="__class__"),
    "names full of formatting": body(name="%s%n{0}", type="%d"),
    "content without parameters": body(content={}),
    "the largest float": spliced("1.7976931348623157e308"),
    "UTF-8 with a byte order mark": body().decode().encode("utf-8-sig"),
    "10 MB in a good message": spliced('"' + "x" * 10_000_000 + '"'),
    "lists that are just not too deep": spliced("[" * (TOO_DEEP - 3) + "]" * (TOO_DEEP - 3)),
    "1 MB of parameters": spliced('"' + "x" * 1_000_000 + '"'),
    "white space around it": b" \r\n\t" + body() + b"\n",
    **dict(change for key in UNREAD for change in _changed(key)),
    "only what is needed": json.dumps({key: GOOD[key] for key in (*TEXTS, "content")}).encode(),
}
