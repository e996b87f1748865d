"""What peers wrote is on one line, escaped and bounded, whatever it is."""

from __future__ import annotations

import builtins
import sys
import unicodedata
from collections.abc import Callable
from typing import Any, NoReturn

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postage.foreign_text import LONGEST, LONGEST_TRACEBACK, brief, one_line, traceback_text

#: Room for the words that say how much was left out.
MARK = 40

TEXTS = {
    "a line": "a\n2026 CRITICAL forged",
    "a return": "a\r2026 CRITICAL forged",
    "a separator": "a\u2028\u2029\x85\x0b\x0c\x1c forged",
    "an escape": "\x1b[2J\x9b2J\x1b]0;title\x07",
    "a backspace": "harmless\x08\x08\x08\x08",
    "a reversal": "\u202egnp.exe\u2066\u061c",
    "nothing to see": "\u200b\u2060\ufeff\u00ad\u034f\ufe0f\u3164\u2800\U000e0101\u180e",
    "a tag": "\U000e0041",
    "a surrogate": "\udc80\ud800",
    "private": "\ue000\U0010ffff",
    "a null": "\0",
}


def is_plain(text: str) -> bool:
    return not any(
        unicodedata.category(char) in {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"} for char in text
    )


@pytest.mark.parametrize("text", TEXTS.values(), ids=list(TEXTS))
@pytest.mark.parametrize("kind", ["text", "bytes", "error", "list", "key", "set"])
def test_hostile_text_is_escaped(text: str, kind: str) -> None:
    values = {
        "text": text,
        "bytes": text.encode("utf-8", "surrogatepass"),
        "error": ValueError(text),
        "list": [text],
        "key": {text: text},
        "set": {text},
    }

    for shown in (one_line(values[kind]), brief(values[kind])):
        assert is_plain(shown)
        assert shown != text


@given(st.text(st.characters(exclude_categories=())), st.integers(1, 50))
def test_any_text_is_one_bounded_line(text: str, longest: int) -> None:
    shown = one_line(text, longest)

    assert is_plain(shown)
    assert len(shown.splitlines()) <= 1
    assert len(shown) <= longest + MARK


@pytest.mark.parametrize("text", ["", "plain", "größer 世界 😀", r"a\nb", "x" * LONGEST])
def test_readable_text_stays_as_it_is(text: str) -> None:
    assert one_line(text) == text


class Odd:
    def __str__(self) -> str:
        raise ValueError("no text\n")

    __repr__ = __str__


def deep(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


def looped() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


#: Made when they are needed: together, they would take 100 MB until the end of the run.
OBJECTS: dict[str, Callable[[], object]] = {
    "long text": lambda: "\u0378" * 4_000_000,
    "long bytes": lambda: b"\xff" * 8_000_000,
    "large integer": lambda: 10**10_000,
    "many items": lambda: list(range(1_000_000)),
    "many keys": lambda: {str(n): {"x": n} for n in range(100_000)},
    "wide and deep": lambda: [[["x" * 100] * 100] * 100] * 100,
    "deep": lambda: deep(100_000),
    "a loop": looped,
    "an odd object": Odd,
    "odd items": lambda: {"x": [Odd()]},
    "an error": lambda: KeyError("x" * 1_000_000),
}


@pytest.mark.parametrize("make", OBJECTS.values(), ids=list(OBJECTS))
def test_any_object_is_bounded(make: Callable[[], object]) -> None:
    value = make()
    for show in (one_line, brief):
        assert len(show(value)) <= LONGEST + MARK
        assert is_plain(show(value))


def test_small_collections_look_as_always() -> None:
    value = {"a": [1, (2,), {3}, frozenset({4}), ()], "b": {"c": None}, "d": "text", "e": b"x"}

    assert brief(value) == repr(value)


# --- tracebacks

FORGED = "\n2026-01-01 CRITICAL postage: forged\x1b[2J\r2026"


def raised(error: BaseException, cause: BaseException | None = None) -> BaseException:
    try:
        _raise(error)
    except BaseException as exc:
        if cause is not None:
            exc.__cause__ = cause
        return exc


def _raise(error: BaseException) -> NoReturn:
    raise error


def noted(error: BaseException, *notes: object) -> BaseException:
    error.__notes__ = notes
    return error


class Named(Exception):
    pass


Named.__qualname__ = f"Named{FORGED}"


@pytest.mark.parametrize(
    "error",
    [
        ValueError(FORGED),
        KeyError(FORGED),
        UnicodeDecodeError("utf-8", b"\n", 0, 1, FORGED),
        SyntaxError(FORGED, (FORGED, 1, 1, FORGED)),
        OSError(2, FORGED, FORGED),
        Named("x"),
        noted(ValueError("x"), FORGED, 3),
        ValueError("x" * 8_000_000),
        Odd,
    ],
    ids=["value", "key", "decode", "syntax", "os", "named", "notes", "long", "class"],
)
@pytest.mark.parametrize("place", ["last", "cause", "context", "group"])
def test_no_traceback_forges_a_line(error: Any, place: str) -> None:
    if isinstance(error, type):
        error = ValueError(Odd())
    exc = raised(error)
    if place == "cause":
        exc = raised(RuntimeError("outer"), exc)
    elif place == "context":
        outer = raised(RuntimeError("outer"))
        outer.__context__ = exc
        exc = outer
    elif place == "group":
        if sys.version_info < (3, 11):
            pytest.skip("exception groups came with Python 3.11")
        exc = raised(builtins.BaseExceptionGroup(FORGED, [exc, ValueError(2)]))

    text = traceback_text(exc)

    assert not any(line.lstrip(" |").startswith("2026") for line in text.splitlines())
    assert is_plain(text.replace("\n", ""))
    assert len(text) <= LONGEST_TRACEBACK + 2 * MARK
    assert type(error).__name__ in text
    assert "in raised" in text


def test_a_long_chain_of_causes_is_bounded() -> None:
    error = ValueError("the first")
    for number in range(1000):
        error = raised(ValueError(f"number {number}"), error)

    text = traceback_text(error)

    assert len(text) <= LONGEST_TRACEBACK + 2 * MARK
    assert text.endswith("ValueError: number 999")


def test_a_chain_that_is_a_ring_ends() -> None:
    first, second = ValueError("first"), ValueError("second")
    first.__context__, second.__context__ = second, first

    assert traceback_text(first).count("ValueError: first") == 1
