"""The broker's codec and pika's write the same bytes, and read what the other writes."""

from __future__ import annotations

import calendar
import datetime as dt
from decimal import Decimal
from typing import Any

import pika
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pika import spec

from postage.broker.wire.content import decode_properties, encode_properties
from postage.broker.wire.exceptions import SyntaxFault
from postage.broker.wire.fields import (
    MAX_DEPTH,
    Timestamp,
    decode_table,
    encode_table,
    long_string,
)
from postage.broker.wire.methods import METHODS, Method, MethodCall, decode, encode
from tests.support.wire import short_strings, some_properties, tables

ITS_NAMES = {"global_": "global_qos"}
"""pika's names of arguments that are keywords of Python."""
MAX_EXAMPLES = 30
"""The examples for each of the 64 methods."""

_values = {
    "octet": st.integers(0, 255),
    "short": st.integers(0, 65535),
    "long": st.integers(0, 2**32 - 1),
    "longlong": st.integers(0, 2**64 - 1),
    "shortstr": short_strings,
    "longstr": st.text(st.characters(exclude_categories=["Cs"]), max_size=300),
    "bit": st.booleans(),
    "table": tables,
    "rawtable": tables,
}


def ours(value: Any) -> Any:
    """Return pika's *value* as the broker decodes it: times are numbers."""
    if isinstance(value, dt.datetime):
        return Timestamp(calendar.timegm(value.utctimetuple()))
    if isinstance(value, dict):
        return {key: ours(each) for key, each in value.items()}
    if isinstance(value, list):
        return [ours(each) for each in value]
    return value


def as_bytes(value: Any) -> Any:
    return value.encode() if isinstance(value, str) else value


def its_class(method: Method) -> type | None:
    """Return pika's class of *method*, or None: pika lacks the newest methods."""
    group, _, name = method.name.partition(".")
    parts = "".join(part.capitalize() for part in name.split("_"))
    found: type | None = getattr(getattr(spec, group.capitalize(), None), parts, None)
    return found


every_method = pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)


@every_method
@settings(max_examples=MAX_EXAMPLES)
@given(data=st.data())
def test_methods_come_back_as_they_were(method: Method, data: Any) -> None:
    drawn = {name: data.draw(_values[kind]) for name, kind in method.arguments if name[0] != "["}
    call = decode(encode(7, method.name, **{n: ours(v) for n, v in drawn.items()})[7:-1])
    assert call.method is method
    for name, kind in method.arguments:
        if name[0] != "[" and hasattr(call, name):
            expected = as_bytes(drawn[name]) if kind == "longstr" else ours(drawn[name])
            came = getattr(call, name)
            if kind == "rawtable":
                came, _ = decode_table(long_string(came), 0)
            assert plain(came) == plain(expected)


def plain(value: Any) -> Any:
    """Return *value* with decimals as numbers and texts as bytes, which makes codecs comparable."""
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items()}
    if isinstance(value, list):
        return [plain(each) for each in value]
    return value.encode() if isinstance(value, str) else value


@pytest.mark.parametrize("method", [m for m in METHODS.values() if its_class(m)], ids=str)
@settings(max_examples=MAX_EXAMPLES)
@given(data=st.data())
def test_methods_are_encoded_as_by_pika(method: Method, data: Any) -> None:
    kind_of = its_class(method)
    assert kind_of is not None
    drawn = {name: data.draw(_values[kind]) for name, kind in method.arguments if name[0] != "["}
    its = kind_of(**{ITS_NAMES.get(name, name): value for name, value in drawn.items()})
    frame = pika.frame.Method(7, its).marshal()
    assert encode(7, method.name, **{n: ours(v) for n, v in drawn.items()}) == frame
    assert decode(frame[7:-1]).method is method


def test_pika_knows_nearly_all_methods() -> None:
    unknown = [name for name, method in METHODS.items() if its_class(method) is None]
    assert len(unknown) <= 3, unknown


@given(tables)
def test_tables_come_back_as_they_were(table: dict[str, Any]) -> None:
    data = encode_table(ours(table))
    assert decode_table(data, 0) == (ours(table), len(data))


@given(some_properties)
def test_properties_are_encoded_as_by_pika(values: dict[str, Any]) -> None:
    its = pika.frame.Header(1, 0, pika.BasicProperties(**values)).marshal()[19:-1]
    mine = {name: ours(value) for name, value in values.items()}
    assert encode_properties(mine) == its
    assert encode_properties(decode_properties(its)) == its


def nested(depth: int) -> dict[str, Any]:
    return {"a": nested(depth - 1)} if depth else {}


def test_tables_nest_up_to_a_limit() -> None:
    deepest = encode_table(nested(MAX_DEPTH))
    assert decode_table(deepest, 0)[0] == nested(MAX_DEPTH)
    with pytest.raises(SyntaxFault, match="nest deeper"):
        decode_table(encode_table(nested(MAX_DEPTH + 1)), 0)


@pytest.mark.parametrize("value", [Decimal("1.25"), Decimal(-3), 1.5, None, True, b"\xff", 2**40])
def test_single_values(value: Any) -> None:
    assert decode_table(encode_table({"k": value}), 0)[0] == {"k": value}


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("connection.start_ok", {"mechanism": "PLAIN", "response": b"\0me\0s3cret"}),
        ("connection.secure_ok", {"response": b"s3cret"}),
        ("connection.update_secret", {"new_secret": b"s3cret", "reason": "it is old"}),
    ],
)
def test_no_repr_of_a_method_shows_a_password(name: str, arguments: dict[str, Any]) -> None:
    text = repr(MethodCall(METHODS[name], dict(arguments)))
    assert "s3cret" not in text
    assert text.startswith(f"<{name} ")
