"""What commands print: results to stdout, as lines, JSON or tables.  Messages go to stderr."""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from postage.cli.exits import Code, CommandFailed

__all__ = ["as_json", "printing", "say", "say_json", "shown", "table"]


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
    return text if text.isprintable() else "".join(map(_harmless, text))


def _harmless(char: str) -> str:
    return char if char.isprintable() else " " if char.isspace() else "?"


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    """Return *rows* as lines, in columns below *head*."""
    cells = [list(head), *([shown(cell) for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in cells]


@contextmanager
def printing() -> Iterator[None]:
    """End the program where stdout takes no more of what the block prints.

    That nobody reads any more is no error; else a `CommandFailed` says what it is.
    """
    try:
        yield
    except OSError as exc:
        if not _is_from_writing(exc):
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left goes nowhere
        if isinstance(exc, BrokenPipeError):
            sys.exit(Code.CLEAN)
        text = f"cannot write to stdout: {exc.strerror}"
        raise CommandFailed(text, Code.UNHANDLED) from None


def _is_from_writing(exc: OSError) -> bool:
    """Tell whether it came when something was printed, by us or, as help is, by click."""
    *_, (frame, _) = traceback.walk_tb(exc.__traceback__)
    return frame.f_globals["__name__"] in (__name__, "click.utils")
