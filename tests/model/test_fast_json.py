"""JSON by orjson and msgspec: the results are those of the standard library."""

from __future__ import annotations

import collections
import dataclasses
import datetime as dt
import decimal
import enum
import json
import math
import os
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from postage.encoding import JsonEncoder, encode_fast, fast_json
from postage.errors import DecodingError, EncodingError
from tests.support.json_library import by_the_standard_library
from tests.support.programs import run_program

with_it = pytest.mark.skipif(not fast_json(), reason="the extra `fast` is not installed")

Plain = enum.Enum("Plain", "ONE")
Number = enum.IntEnum("Number", "ONE")


class Text(str):
    __slots__ = ()


class Real(float):
    pass


class Table(dict):  # type: ignore[type-arg]
    pass


@dataclasses.dataclass
class Record:
    field: int = 1


#: Values that one of the libraries converts to other values, or might.
ODD = [
    *(Plain.ONE, Number.ONE, Text("x"), Real(1.5), Real("nan"), Table(a=1), Record()),
    *(collections.OrderedDict(a=1), collections.defaultdict(int), {1, 2}, frozenset([1])),
    *(uuid.uuid4(), decimal.Decimal("1.5"), dt.date(2020, 1, 1), dt.timedelta(1)),
    *(b"x", bytearray(b"x"), memoryview(b"x"), 1j, ..., StopIteration, object(), compile),
    *(math.nan, math.inf, -math.inf, -0.0, 1e308, 5e-324, 2**63, 2**64, -(2**63) - 1),
    *("\ud800", "\x00", "\u2028", "null", "\x7f", (1, 2)),
]
scalars = st.one_of(
    *(st.none(), st.booleans(), st.integers(), st.integers(-(2**70), 2**70), st.floats()),
    *(st.text(st.characters()), st.sampled_from(ODD)),
)
keys = st.one_of(
    *(st.text(), st.integers(), st.booleans(), st.none(), st.floats()),
    st.sampled_from([Number.ONE, Plain.ONE, Text("k"), (1,), b"k"]),
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        *(st.lists(inner, max_size=4), st.tuples(inner, inner)),
        st.dictionaries(keys, inner, max_size=4),
    ),
    max_leaves=15,
)

numbers = st.from_regex(r"\A-?(0|[1-9][0-9]{0,30})(\.[0-9]{1,30})?([eE][+-]?[0-9]{1,4})?\Z")
words = st.sampled_from(
    [
        *("null", "true", "false", "NaN", "Infinity", "01", "1.", ".5", "+1", "-", "'a'"),
        *(r'"\ud800"', r'"\ud83d\ude00"', r'"\ude00\ud83d"', r'"\x"', r'"\/"', '"\t"', '"\x7f"'),
    ]
)
strings = st.text().map(json.dumps)


def listed(inner: Any) -> Any:
    return st.lists(inner, max_size=4).map(lambda parts: f"[{','.join(parts)}]")


def mapped(inner: Any) -> Any:
    pairs = st.lists(st.tuples(strings | st.just('"a"'), inner), max_size=4)
    return pairs.map(lambda parts: "{" + " , ".join(f"{k} : {v}" for k, v in parts) + "}")


texts = st.recursive(
    numbers | words | strings | st.text(),
    lambda inner: listed(inner) | mapped(inner),
    max_leaves=10,
)
around = st.sampled_from(["", " ", "\n\t", "\x0c", "\xa0", "\ufeff", ","])
bodies = st.one_of(
    st.tuples(around, texts, around).map("".join),
    st.tuples(texts.map(lambda t: t.encode("utf-8", "surrogatepass")), st.binary(max_size=2)).map(
        b"".join
    ),
    st.binary(),
)


def outcome(function: Callable[[Any], Any], argument: Any) -> str:
    """Return the result as text; repr distinguishes 1, 1.0 and True, and 0.0 and -0.0."""
    try:
        return repr(function(argument))
    except (EncodingError, DecodingError) as exc:
        return f"{type(exc).__name__}: {exc}"


def sent(value: Any) -> Any:
    """Return *value* as a reader of JSON decodes it after it was sent."""
    return json.loads(JsonEncoder.encode(value))


def test_the_extra_is_installed_if_it_is_required():
    assert fast_json() or os.environ.get("POSTAGE_REQUIRE_FAST") != "1"


@with_it
@settings(max_examples=400)
@given(values)
def test_both_send_the_same_value_or_the_same_error(value: Any):
    fast = outcome(sent, value)

    with by_the_standard_library():
        assert outcome(sent, value) == fast


@with_it
@settings(max_examples=400)
@given(bodies)
def test_both_read_the_same_value_or_the_same_error(body: str | bytes):
    fast = outcome(JsonEncoder.decode, body)

    with by_the_standard_library():
        assert outcome(JsonEncoder.decode, body) == fast


@with_it
@given(st.floats(), st.lists(st.none() | st.text()))
def test_none_and_nan_are_told_apart(number: float, others: list[Any]):
    text = encode_fast([number, *others], fast_json())

    assert text is None or math.isfinite(number)


@with_it
@given(
    st.recursive(
        st.booleans() | st.integers(-(2**31), 2**31) | st.floats(-1e9, 1e9) | st.text("abc\u20ac"),
        lambda inner: st.lists(inner) | st.dictionaries(st.text("abc\u20ac"), inner),
    )
)
def test_ordinary_values_are_no_matter_for_the_standard_library(value: Any):
    text = encode_fast(value, fast_json())

    assert text is not None
    assert fast_json().loads(text) == value


@with_it
@pytest.mark.parametrize(
    "beside", [1, -1, 1.5, 0.1, -0.0, True, "text", "\u20ac", [None], {"a": None}]
)
def test_values_beside_none_survive_except_a_rare_number(beside: Any):
    text = encode_fast([None, beside], fast_json())

    assert text is not None
    assert fast_json().loads(text) == [None, beside]


@pytest.mark.parametrize("missing", ["orjson", "msgspec"])
def test_it_takes_both_libraries(missing: str):
    code = (
        f"import sys; sys.modules[{missing!r}] = None; from postage import encoding;"
        "print(encoding.fast_json(), encoding.JsonEncoder.encode({'a': 1}))"
    )
    finished = run_program("-c", code)

    assert (finished.code, finished.stdout) == (0, 'None {"a": 1}\n'), finished.stderr
