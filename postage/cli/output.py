"""What commands print: results on stdout, as lines, JSON or tables.  Messages go to stderr."""

from __future__ import annotations

import json
import os
import re
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from postage.cli.exits import Code, CommandFailed
from postage.foreign_text import one_line

LONGEST = 4000
"""Characters that are shown of a text that another process sent."""

_MONOCHROME = re.compile(r"dumb|unknown|vt\d|.*-m(ono)?$")
"""The values of TERM for terminals without colours."""

if TYPE_CHECKING:
    from postage.message import MessageResult


def is_terminal() -> bool:
    """Tell whether stdout is a terminal; Python has none if it was closed before the start."""
    return sys.stdout is not None and sys.stdout.isatty()


def reads_terminal() -> bool:
    """Tell whether stdin is a terminal, where a person can answer."""
    return sys.stdin is not None and sys.stdin.isatty()


def may_colour(*, refused: bool = False) -> bool:
    """Tell whether stdout takes colours: a terminal, unless NO_COLOR or the user refuses them."""
    plain = os.environ.get("NO_COLOR") or _MONOCHROME.match(os.environ.get("TERM", ""))
    return is_terminal() and not plain and not refused


def print_text(text: str) -> None:
    """Print *text* and flush; letters that the encoding of stdout lacks are escaped."""
    if getattr(sys.stdout, "errors", "") == "strict":
        text = text.encode(sys.stdout.encoding, "backslashreplace").decode(sys.stdout.encoding)
    print(text, flush=True)


def print_json(value: Any) -> None:
    """Print *value* as one line of JSON and flush."""
    print_text(as_json(value, getattr(sys.stdout, "encoding", None) or "ascii"))


def as_json(value: Any, encoding: str = "utf-8") -> str:
    """Return *value* as one line of JSON with readable letters.

    Letters that *encoding* lacks and control characters that a terminal would obey are escaped.
    """
    text = json.dumps(value, ensure_ascii=False, default=str)
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return json.dumps(value, default=str)
    return text if text.isprintable() else json.dumps(value, default=str)


def sanitized(value: object) -> str:
    """Return the text of *value*, which another process sent, on one line.

    Blanks stand for newlines and tabs, and ``?`` for control characters.
    """
    text = str(value)[: LONGEST + 1]
    plain = (char if char.isprintable() else " " if char.isspace() else "?" for char in text)
    return one_line("".join(plain), LONGEST)


def error_text(result: MessageResult) -> str:
    """Return what an error or exception *result* says: its name, if it has one, and its message."""
    parts = [result.value, result.message] if result.value else [result.message]
    return ": ".join(map(sanitized, parts))


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    """Return the lines of a table: *head*, then *rows* in aligned columns."""
    cells = [list(head), *([sanitized(cell) for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in cells]


@contextmanager
def handle_stdout_errors() -> Iterator[None]:
    """End the program when the block cannot write to stdout.

    A reader that has closed the pipe (``| head``) is no error: exit code 0.  For anything else,
    such as a full disk, raises `CommandFailed`.
    """
    try:
        yield
    except OSError as exc:
        *_, (frame, _) = traceback.walk_tb(exc.__traceback__)
        if frame.f_globals["__name__"] not in (__name__, "click.utils"):
            raise  # it comes neither from our printing nor from click's, which prints help
        # Python flushes stdout at exit; what is still in its buffer must not fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(exc, BrokenPipeError):
            sys.exit(Code.CLEAN)
        text = f"cannot write to stdout: {exc.strerror}"
        raise CommandFailed(text, Code.UNHANDLED) from None
