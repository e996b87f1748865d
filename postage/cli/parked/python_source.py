"""Values that peers have sent, written as source code of Python.  Pure.

What a peer wrote may only become a literal, whatever it is: each value is written by its exact
type, texts with every odd character escaped, and any other value is refused.
"""

from __future__ import annotations

import datetime  # noqa: ICN001 - as the repr names it
import decimal
import math
from collections.abc import Callable, Iterable
from typing import Any

from postage.foreign_text import string_literal

__all__ = ["Unwritable", "python_source"]

DEEPEST = 50
"""Levels of lists and dictionaries: the parser of Python gives up at 200 brackets, or before."""
LONGEST = 100_000
"""Characters of a value as source: to parse it takes a hundred times as many bytes of memory."""
WIDTH = 88


class Unwritable(Exception):
    """A value is too large or too deep to be read as source, or of a type that has no literal."""


def python_source(value: Any) -> str:
    """Return an expression of Python, of one or several lines, that evaluates to *value*.

    The expression has literals, and calls of ``float``, ``datetime.datetime`` and
    ``decimal.Decimal`` for values without a literal.  Raises `Unwritable` with the reason for any
    other value, and for one that is too large or too deep.
    """
    return _Writer().written(value, 0)


class _Writer:
    def __init__(self) -> None:
        self._room = LONGEST

    def written(self, value: Any, depth: int) -> str:
        """Return *value*, which stands *depth* levels deep, as source."""
        if depth > DEEPEST:
            raise Unwritable(f"it nests deeper than {DEEPEST} levels")
        if isinstance(value, dict):
            return self._joined(
                "{", (self._pair(*each, depth) for each in value.items()), "}", depth
            )
        if isinstance(value, (list, tuple)):
            return self._joined("[", (self.written(each, depth + 1) for each in value), "]", depth)
        text = _atom(value)
        self._spend(len(text))
        return text

    def _spend(self, characters: int) -> None:
        self._room -= characters
        if self._room < 0:
            raise Unwritable(f"it has more than {LONGEST} characters")

    def _pair(self, key: Any, value: Any, depth: int) -> str:
        if not isinstance(key, str):
            raise Unwritable(f"a key is a {type(key).__name__}")
        return f"{self.written(key, depth + 1)}: {self.written(value, depth + 1)}"

    def _joined(self, first: str, parts: Iterable[str], last: str, depth: int) -> str:
        """Return *parts* in brackets: on one line if it is short, else each on its own."""
        written = list(parts)
        self._spend((4 * depth + 8) * len(written) + 2)  # the indentation counts, too
        flat = f"{first}{', '.join(written)}{last}"
        if len(flat) + 4 * depth <= WIDTH and "\n" not in flat:
            return flat
        indent = "    " * (depth + 1)
        lines = "".join(f"{indent}{each},\n" for each in written)
        return f"{first}\n{lines}{'    ' * depth}{last}"


def _atom(value: Any) -> str:
    for kind, write in _ATOMS.items():
        if isinstance(value, kind):
            return write(value)
    raise Unwritable(f"it holds a {type(value).__name__}")


def _float(value: float) -> str:
    return float.__repr__(value) if math.isfinite(value) else f'float("{float.__repr__(value)}")'


def _datetime(value: datetime.datetime) -> str:
    if value.tzinfo is None:
        return repr(datetime.datetime.combine(value.date(), value.time()))
    try:
        utc = value.astimezone(datetime.timezone.utc)
    except (OverflowError, ValueError):
        raise Unwritable("it holds a time out of range") from None
    return repr(datetime.datetime.combine(utc.date(), utc.timetz()))


# In this order, since a bool is an int.  The functions are those of the types themselves, because
# pika has integers whose repr is no Python.
_ATOMS: dict[type, Callable[[Any], str]] = {
    type(None): repr,
    bool: repr,
    int: int.__repr__,
    float: _float,
    str: string_literal,
    bytes: lambda value: bytes.__repr__(bytes(value)),
    bytearray: lambda value: bytes.__repr__(bytes(value)),
    datetime.datetime: _datetime,
    decimal.Decimal: lambda value: f"decimal.{decimal.Decimal.__repr__(decimal.Decimal(value))}",
}
