"""Which values attributes, arguments and options may have."""

from __future__ import annotations

import enum
import math
from datetime import datetime, timezone
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pika.data
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from postage.errors import SettingsError
from postage.values import (
    Rule,
    arguments,
    encoder_class,
    flag,
    number,
    seconds,
    secret,
    short_text,
    text,
)


class Level(enum.IntEnum):
    LOW = 1


class BadRepr:
    def __repr__(self) -> str:
        raise ZeroDivisionError


ANY = [
    *(None, True, 0, -1, 2.5, math.nan, math.inf, "5", b"5", "\ud800", [], {}, object(), int),
    *(2**70, 10**400, 1j, Decimal("NaN"), lambda: 5, BadRepr(), "x" * 1000, Level.LOW, {1}),
]
RULES: dict[str, Rule] = {
    "a": number(1, 65535),
    "b": number(0, none=True),
    "c": seconds(),
    "d": seconds(zero=True, endless=True),
    "e": flag,
    "f": text,
    "g": secret,
    "h": short_text(),
    "i": short_text(1, none=True),
    "j": arguments,
    "k": encoder_class,
}


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("value", ANY, ids=lambda value: type(value).__name__)
def test_a_rule_allows_a_value_or_names_it_in_one_line(name: str, value: Any) -> None:
    try:
        RULES[name](f"Sender.{name}", value)
        error = ""
    except SettingsError as exc:
        error = str(exc)
    assert error.isprintable()
    assert len(error) < 300
    assert error.startswith("" if error == "" else f"Sender.{name} must be ")
    assert error or not isinstance(value, (BadRepr, complex))


@pytest.mark.parametrize(
    ("rule", "value"),
    [
        (number(1, 65535), 65535),
        (number(0), Level.LOW),
        (number(1, none=True), None),
        (seconds(), Fraction(1, 2)),
        (seconds(zero=True), 0),
        (seconds(endless=True), math.inf),
        (flag, 1),
        (short_text(), "ä" * 127),
        (short_text(none=True), None),
    ],
)
def test_the_ends_of_a_range_belong_to_it(rule: Rule, value: Any) -> None:
    rule("x", value)


@pytest.mark.parametrize(
    ("rule", "value", "expected"),
    [
        (number(1, 65535), 0, "an int from 1 to 65535, not 0"),
        (number(1, 65535), True, "not True"),
        (number(0, none=True), 1.0, "an int of at least 0, or None, not 1.0"),
        (seconds(), 0, "> 0 seconds (a finite number), not 0"),
        (seconds(zero=True), math.inf, ">= 0 seconds (a finite number), not inf"),
        (seconds(endless=True), math.nan, "> 0 seconds (a number, or math.inf), not nan"),
        (flag, "false", "True or False, not 'false'"),
        (flag, 2, "not 2"),
        (short_text(), "ä" * 128, "a text of 0 to 255 bytes in UTF-8, not 'ää"),
        (short_text(1), "", "1 to 255"),
        (short_text(), "a\udc80", r"not 'a\udc80'"),
    ],
)
def test_an_error_has_name_range_and_value(rule: Rule, value: Any, expected: str) -> None:
    with pytest.raises(SettingsError) as caught:
        rule("x", value)
    assert str(caught.value).startswith("x must be ")
    assert expected in str(caught.value)


def test_no_error_quotes_a_secret() -> None:
    with pytest.raises(SettingsError) as caught:
        secret("password", b"hush")
    assert "hush" not in str(caught.value)


# --- tables of arguments


@pytest.mark.parametrize(
    ("table", "named"),
    [
        ({"x-message-ttl": 60 * 1e3}, "flags['x-message-ttl'] must be an int of 64 bits"),
        ({"a": {"b": [1, {2}]}}, "flags['a']['b'][1] must be"),
        ({"a": 2**63}, "flags['a'] must be"),
        ({"a": object()}, "flags['a'] must be"),
        ({"a": (1, 2)}, "flags['a'] must be"),
        ({"a": Decimal(2**31)}, "flags['a'] must be"),
        ({"a": Decimal("Infinity")}, "flags['a'] must be"),
        ({"a": datetime(1969, 12, 31, tzinfo=timezone.utc)}, "flags['a'] must be"),
        ({"k" * 256: 1}, "a key of flags must be a text of 0 to 255 bytes"),
        ({5: 1}, "a key of flags must be"),
        ({b"k": 1}, "a key of flags must be"),
        ({"\ud800": 1}, "a key of flags must be"),
        ({"a": "\ud800"}, "flags['a'] must be a text that UTF-8 can hold"),
        ({"a": "x" * 70_000}, "flags must have at most 65536 bytes, not 7000"),
        ([("a", 1)], "flags must be a dictionary, not [("),
    ],
)
def test_what_amqp_cannot_hold_is_named_with_its_place(table: Any, named: str) -> None:
    with pytest.raises(SettingsError) as caught:
        arguments("flags", table)
    assert named in str(caught.value)


def test_a_table_that_holds_itself_is_refused() -> None:
    table: dict[str, Any] = {}
    table["a"] = [table]
    with pytest.raises(SettingsError, match="nests deeper than 50 levels"):
        arguments("flags", table)


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(), max_size=300)
    | st.binary()
    | st.decimals()
    | st.datetimes()
    | st.sets(st.integers())
)
KEYS = st.text(st.characters(), max_size=300)
VALUES = st.recursive(SCALARS, lambda v: st.lists(v) | st.dictionaries(KEYS, v), max_leaves=8)


@given(st.dictionaries(KEYS, VALUES))
@example({"a": Decimal("1E+9")})
@example({"a": Decimal("-21474836.48")})
@example({"a": Decimal("1E-300")})
@example({"a": -(2**63)})
def test_what_the_rule_allows_pika_can_encode(table: dict[str, Any]) -> None:
    try:
        arguments("flags", table)
    except SettingsError:
        return
    pieces: list[bytes] = []
    assert pika.data.encode_table(pieces, table) <= 70_000
