"""A message on one line of a terminal, for readers: what ``postage tail`` prints there.  Pure.

Other programs wrote the messages, so every text of theirs is escaped, and the line is cut to the
width of the terminal.
"""

from __future__ import annotations

import unicodedata
from typing import Any, NamedTuple

import click

from postage.foreign_text import brief, one_line

__all__ = ["fitting", "readable"]

LONGEST_NAME = 40
"""Columns that a name may take, so that there is room for the content."""
DOTS = "..."
NOTHING = "-"
"""Stands for what a message does not contain."""
FAILURES = ("error", "exception")
"""The types of results that tell of a failure."""


class LinePart(NamedTuple):
    """A part of the line, and how it looks where colours are allowed."""

    text: str
    look: dict[str, Any]


def readable(line: dict[str, Any], at: str, width: int, *, coloured: bool) -> str:
    """Return *line*, a message as `tail` prints it in JSON, in at most *width* columns.

    *at* is the time of day.  The line has it, the exchange and the key, type and name, the sender
    and the content.
    """
    shown, room = [], width
    for text, look in _parts(line, at, width):
        cut = fitting(text, room)
        shown.append(click.style(cut, **look) if coloured and cut else cut)
        room -= columns(cut) + 2
        if room <= len(DOTS):
            break
    return "  ".join(shown)


def _parts(line: dict[str, Any], at: str, width: int) -> list[LinePart]:
    body = line.get("body")
    message = body if isinstance(body, dict) and {"type", "name", "content"} <= body.keys() else {}
    where = " ".join(filter(None, [_name(line["exchange"]), _name(line["key"])]))
    content = message.get("content") if message else body
    what, failed = NOTHING, False
    if message:
        kind = content.get("type") if isinstance(content, dict) else None
        failed = message["type"] == "result" and kind in FAILURES
        what = " ".join([_name(message["type"]), _name(kind if failed else message["name"])])
    return [
        LinePart(at, {"dim": True}),
        LinePart(where or NOTHING, {"fg": "cyan"}),
        LinePart(what, {"fg": "red" if failed else "green"}),
        LinePart(_sender(message), {"fg": "yellow"}),
        LinePart(_content(line, content, width), {}),
    ]


def _sender(message: dict[str, Any]) -> str:
    fingerprint = message.get("fingerprint")
    if not isinstance(fingerprint, dict) or not fingerprint:
        return NOTHING
    name, host = _name(fingerprint.get("name", "")), _name(fingerprint.get("host", ""))
    return f"{name}@{host}" if host else name or NOTHING


def _content(line: dict[str, Any], content: Any, width: int) -> str:
    """Return as much of the content as the line may have; a large one is not looked at whole."""
    if "body" not in line:
        return one_line(line.get("text", line.get("base64", "")), width)
    if isinstance(content, dict) and content.keys() == {"parameters"}:
        content = content["parameters"]
    return brief(content, width)


def _name(text: object) -> str:
    return fitting(one_line(text, LONGEST_NAME), LONGEST_NAME)


# --- columns


def fitting(text: str, width: int) -> str:
    """Return *text*, or as much of its beginning as *width* columns have room for, and dots."""
    if columns(text) <= width:
        return text
    room, end = max(0, width - len(DOTS)), 0
    for char in text:
        room -= columns(char)
        if room < 0:
            break
        end += 1
    return text[:end] + DOTS[: max(0, width)]


def columns(text: str) -> int:
    """Return how many columns of a terminal *text* takes: East Asian letters take two."""
    if text.isascii():
        return len(text)
    return sum(map(_columns_of, text))


def _columns_of(char: str) -> int:
    if unicodedata.category(char) in ("Mn", "Me"):  # drawn over the letter before
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1
