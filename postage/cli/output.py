"""What commands print: results to stdout, as lines, JSON or tables.  Messages go to stderr."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from typing import Any

__all__ = ["as_json", "say", "say_json", "shown", "stop_writing", "table"]


def say(text: str) -> None:
    """Print *text* at once."""
    print(text, flush=True)


def say_json(value: Any) -> None:
    """Print *value* as one line of JSON."""
    say(as_json(value, getattr(sys.stdout, "encoding", None) or "ascii"))


def as_json(value: Any, encoding: str = "utf-8") -> str:
    """Return *value* as one line of JSON: readable, but for what a terminal would obey."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return json.dumps(value, default=str)
    return text if text.isprintable() else json.dumps(value, default=str)


def shown(value: object) -> str:
    """Return the text of *value*, which others sent us, without what a terminal would obey."""
    text = str(value)
    return text if text.isprintable() else "".join(c if c.isprintable() else "?" for c in text)


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    """Return *rows* as lines, in columns below *head*."""
    cells = [list(head), *([shown(cell) for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in cells]


def stop_writing() -> None:
    """Send what is still to be written nowhere: the reader of our output has gone."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
