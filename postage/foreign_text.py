"""Text that others wrote, made fit for one line of a log, a terminal or the message of an error.

What a peer writes (names, keys, fingerprints, texts of exceptions, reasons of a broker) may hold
newlines that forge a line of the log, escape sequences that a terminal obeys, characters that
reverse the order of what follows, and eight megabytes.  `one_line` cuts and escapes it.

Everything that Postage logs passes these functions, because its loggers do that: see `log_records`.
Call `one_line` only for text that goes into an error or to the terminal.
"""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterator
from itertools import islice
from typing import Any

# fmt: off
__all__ = [
    "LONGEST", "LONGEST_TRACEBACK", "MOST_CAUSES", "brief", "one_line", "string_literal",
    "traceback_text",
]
# fmt: on

LONGEST = 1000
"""Characters that are left of a text that a peer wrote."""
LONGEST_TRACEBACK = 8000
"""Characters that are left of a traceback: those at its end, which says more than its beginning."""

# Characters that take no place or look like a blank, but count as printable (Unicode calls most of
# them default-ignorable): joiners, fillers, selectors of variants, and the blank of Braille.
_UNSEEN = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0"
    "\U000e0100-\U000e01ef]"
)
_MOST_ITEMS, _DEEPEST = 20, 6
MOST_CAUSES, _DEEPEST_GROUP = 10, 3


def one_line(value: object, longest: int = LONGEST) -> str:
    """Return the text of *value* on one line, cut to about *longest* characters.

    Characters that are not printable are escaped as in a literal of Python.  Never raises: an
    object whose ``str`` fails is named by its type.
    """
    whole = value if isinstance(value, str) else _text_of(value)
    text = whole[: longest + 1]
    if not text.isprintable() or _UNSEEN.search(text):
        text = "".join(map(_escaped, text))
    return text if len(text) <= longest else f"{text[:longest]}... ({len(whole)} characters)"


def _escaped(char: str) -> str:
    if char.isprintable() and not _UNSEEN.match(char):
        return char
    code = ascii(char)[1:-1]
    return code if code.startswith("\\") else f"\\u{ord(char):04x}"


def string_literal(text: str) -> str:
    """Return *text*, whole, as a literal of Python on one line, in which nothing is invisible."""
    # `repr` leaves what counts as printable, and never puts a backslash of its own before it.
    return _UNSEEN.sub(lambda found: _escaped(found[0]), repr(text))


def _text_of(value: object) -> str:
    try:
        if type(value) in _PLAIN:
            return brief(value)
        if isinstance(value, (bytes, bytearray, memoryview)):
            return bytes(value[: 4 * LONGEST]).decode("utf-8", "backslashreplace")
        return str(value)
    except (Exception, SystemExit) as exc:  # the object may be of any class
        return f"({type(value).__name__}, whose str raised {type(exc).__name__})"


# --- representations


_PLAIN = frozenset({dict, list, tuple, set, frozenset})


def brief(value: object, longest: int = LONGEST) -> str:
    """Return ``repr(value)`` on one line, cut to about *longest* characters.

    Of a large or deep collection, only the first items are looked at.  Never raises.
    """
    pieces, length = [], 0
    for piece in _pieces(value, longest, _DEEPEST):
        pieces.append(piece)
        length += len(piece)
        if length > longest:
            break
    return one_line("".join(pieces), longest)


def _pieces(value: Any, longest: int, depth: int) -> Iterator[str]:
    """Yield the parts of the representation of *value*."""
    kind = type(value)
    if kind not in _PLAIN or not value:
        yield _representation(value, longest)
        return
    first, last = _BRACKETS[kind]
    yield first
    for number, each in enumerate(islice(value, _MOST_ITEMS + 1)):
        yield ", " if number else ""
        if number == _MOST_ITEMS or not depth:
            yield "..."
            break
        yield from _pieces(each, longest, depth - 1)
        if kind is dict:
            yield ": "
            yield from _pieces(value[each], longest, depth - 1)
    yield ",)" if kind is tuple and len(value) == 1 else last


_BRACKETS: dict[type, tuple[str, str]] = {
    dict: ("{", "}"),
    list: ("[", "]"),
    tuple: ("(", ")"),
    set: ("{", "}"),
    frozenset: ("frozenset({", "})"),
}


def _representation(value: Any, longest: int) -> str:
    try:
        if isinstance(value, (str, bytes, bytearray)) and len(value) > longest:
            return f"{value[:longest]!r}... ({len(value)})"
        return repr(value)
    except (Exception, SystemExit) as exc:  # too many digits, or an object of any class
        return f"({type(value).__name__}, whose repr raised {type(exc).__name__})"


# --- tracebacks


def traceback_text(error: BaseException) -> str:
    """Return the traceback of *error* and its causes, of at most `LONGEST_TRACEBACK` characters.

    Each text of an exception is on one line, whoever wrote it.  So nothing in it can look like the
    next record of a log.
    """
    text = "\n".join(_lines(error, _DEEPEST_GROUP))
    left_out = len(text) - LONGEST_TRACEBACK
    if left_out <= 0:
        return text
    rest = text[left_out:].partition("\n")[2]
    return f"  ... ({len(text) - len(rest)} characters left out)\n{rest}"


def _lines(error: BaseException, depth: int) -> Iterator[str]:
    for each, relation in _chain(error):
        yield "Traceback (most recent call last):"
        for entry in traceback.format_tb(each.__traceback__):
            yield from entry.rstrip("\n").split("\n")
        text = one_line(each)
        yield f"{_name_of(type(each))}{text and f': {text}'}"
        notes = getattr(each, "__notes__", ())
        if isinstance(notes, (list, tuple)):
            yield from (f"  {one_line(note)}" for note in notes[:_MOST_ITEMS])
        parts = getattr(each, "exceptions", ())  # those of an ExceptionGroup
        if isinstance(parts, tuple) and depth:
            for part in parts[:_MOST_ITEMS]:
                if isinstance(part, BaseException):
                    yield from (f"  | {line}" for line in _lines(part, depth - 1))
        if relation:
            yield from ("", relation, "")


def _chain(error: BaseException) -> list[tuple[BaseException, str]]:
    """Return *error* after its causes, each with its relation to the next."""
    chain = [(error, "")]
    while len(chain) < MOST_CAUSES:
        last = chain[-1][0]
        relation = "The above exception was the direct cause of the following exception:"
        inner = last.__cause__
        if inner is None and not last.__suppress_context__:
            relation = "During handling of the above exception, another exception occurred:"
            inner = last.__context__
        if inner is None or any(inner is each for each, _ in chain):
            break
        chain.append((inner, relation))
    return chain[::-1]


def _name_of(kind: type) -> str:
    module = kind.__module__
    name = kind.__qualname__ if module == "builtins" else f"{module}.{kind.__qualname__}"
    return one_line(name)
