"""JSON is decoded by msgspec, where that is installed, to what the standard library makes of it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from postage import encoding
from postage.encoding import JsonEncoder
from postage.errors import DecodingError
from tests.support.programs import run_program

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


def decoded(body: Any) -> str:
    """Return what comes of *body*; repr tells 1 from 1.0 and True, and 0.0 from -0.0."""
    try:
        return repr(JsonEncoder.decode(body))
    except DecodingError as exc:
        return f"an error: {exc}"


def test_the_suite_runs_with_it():
    assert encoding._fast_decoder is not None, "install the extra `test`: it has `fast` in it"


@settings(max_examples=2000)
@given(bodies)
def test_both_come_to_the_same(body: str | bytes):
    fast = decoded(body)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encoding, "_fast_decoder", None)

        assert decoded(body) == fast


def test_without_msgspec_the_standard_library_does_it():
    code = (
        "import sys; sys.modules['msgspec'] = None; from postage import encoding;"
        "print(encoding._fast_decoder, encoding.JsonEncoder.decode(b'[1]'))"
    )
    finished = run_program("-c", code)

    assert (finished.code, finished.stdout) == (0, "None [1]\n"), finished.stderr
