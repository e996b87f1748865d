"""``postage dlq diff``: two messages of a queue of dead letters, compared line by line.  Pure."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from itertools import islice
from typing import Any

from postage.encoding import JsonEncoder
from postage.errors import DecodingError
from postage.foreign_text import brief, one_line
from postage.parking import FailedMessage
from postage.protocol import OWN_HEADERS

__all__ = ["MOST_LINES", "differences"]

MOST_LINES = 1000
"""Lines of a part of a message that are compared: the time grows with the square of it."""
LARGEST_JSON = 1 << 20
"""Bytes of a body that is compared as what it means."""
BINARY_LINE = 16
"""Bytes on a line of a body that is no text."""

_UNREADABLE: Any = object()


def differences(one: FailedMessage, other: FailedMessage) -> Iterator[str]:
    """Yield the lines that show in what *one* and *other* differ, as a unified diff.

    Bodies are compared as sorted, indented JSON if both are JSON, else as text if both are UTF-8,
    else as bytes.  Lines are escaped, and long lines and parts are cut.
    """
    yield f"--- {_where(one)}"
    yield f"+++ {_where(other)}"
    same = []
    for title, lines, other_lines in _parts(one, other):
        compared = difflib.unified_diff(_cut(lines), _cut(other_lines), lineterm="")
        found = list(compared)[2:]  # without the names of files
        if found:
            yield f"@@ {title}"
            yield from ("   ..." if each.startswith("@@") else each for each in found[1:])
        elif title == "body" and one.body != other.body:
            yield f"@@ body: {_hidden_difference(one.body, other.body)}"
        else:
            same.append(title)
    if same:
        yield f"@@ the same in both: {', '.join(same)}"


def _where(message: FailedMessage) -> str:
    name = one_line(message.name) or "a message without a name"
    return f"{message.id} {name}, {len(message.body)} bytes, in {one_line(message.queue)}"


def _parts(
    one: FailedMessage, other: FailedMessage
) -> Iterator[tuple[str, Iterable[str], Iterable[str]]]:
    """Yield the title of each part of a message, and its lines in both."""
    yield "body", *_bodies(one.body, other.body)
    properties, others = _properties(one), _properties(other)
    yield "properties", _table(properties), _table(others)
    headers, other_headers = (_headers(each) for each in (one, other))
    yield "headers", _table(headers), _table(other_headers)
    yield "dossier", _table(_dossier(one)), _table(_dossier(other))
    yield "traceback", one.dossier.traceback.split("\n"), other.dossier.traceback.split("\n")


def _cut(lines: Iterable[str]) -> list[str]:
    rest = iter(lines)
    kept = [one_line(each) for each in islice(rest, MOST_LINES)]
    return [*kept, "... (what follows is not compared)"] if next(rest, None) is not None else kept


# --- bodies


def _bodies(one: bytes, other: bytes) -> tuple[Iterable[str], Iterable[str]]:
    values = _meaning(one), _meaning(other)
    if _UNREADABLE not in values:
        first, second = map(_indented, values)
        return first, second
    try:
        return one.decode().split("\n"), other.decode().split("\n")
    except UnicodeDecodeError:
        return _dump(one), _dump(other)


def _meaning(body: bytes) -> Any:
    """Return what *body* means as JSON, or `_UNREADABLE`."""
    if len(body) > LARGEST_JSON:
        return _UNREADABLE
    try:
        return JsonEncoder.decode(body)
    except DecodingError:
        return _UNREADABLE


def _indented(value: Any) -> list[str]:
    return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False).split("\n")


def _dump(body: bytes) -> Iterator[str]:
    for at in range(0, len(body), BINARY_LINE):
        part = body[at : at + BINARY_LINE]
        text = "".join(chr(each) if 32 <= each < 127 else "." for each in part)  # noqa: PLR2004 - ASCII
        yield f"{at:08x}  {part.hex(' '):<{3 * BINARY_LINE}} {text}"


def _hidden_difference(one: bytes, other: bytes) -> str:
    value = _meaning(one)
    if value is not _UNREADABLE and value == _meaning(other):
        return "the same JSON, written in another way"
    return "they differ, but only in what is too long to be compared here"


# --- tables


def _properties(message: FailedMessage) -> dict[str, Any]:
    values = message.properties.as_dict()
    values.pop("headers", None)
    way = {"exchange": message.exchange, "routing_key": message.routing_key}
    return way | values | ({"damaged": message.damaged} if message.damaged else {})


def _headers(message: FailedMessage) -> dict[str, Any]:
    """Return the headers without those that the dossier shows."""
    headers = message.properties.headers or {}
    return {name: each for name, each in headers.items() if not name.startswith(OWN_HEADERS)}


def _dossier(message: FailedMessage) -> dict[str, Any]:
    about = asdict(message.dossier) | {"group": message.group}
    return {name: value for name, value in about.items() if name != "traceback" and value}


def _table(values: Mapping[str, Any]) -> Iterator[str]:
    """Yield a line for each of *values*, sorted by name."""
    for name in sorted(values):
        value = values[name]
        yield f"{one_line(name, 100)}: {value if isinstance(value, str) else brief(value)}"
