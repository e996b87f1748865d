"""The options of messages: what is one, and which values can be sent."""

from __future__ import annotations

import datetime as dt
import decimal
import math
from functools import partial
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given as given_any
from hypothesis import strategies as st

from postage import MessageCommand, RpcCommand, SettingsError
from postage.message import Message, command_from
from postage.send_options import CALL_OPTIONS, MESSAGE_OPTIONS, given, options_from, split

DEFAULT = partial(command_from, MessageCommand, "x")
DEEP: list[Any] = []
DEEP.append(DEEP)
DEEPER: dict[str, Any] = {}
DEEPER["a"] = DEEPER


def build_named(item: int, _priority: int = 0, _shelf: str = "") -> MessageCommand:
    """A builder for 1.2.1 whose parameters begin with an underscore."""
    return MessageCommand("x", [item, _priority, _shelf])


def build_any(*args: Any, **kwds: Any) -> MessageCommand:
    """A builder for 1.2.1 that takes anything."""
    return MessageCommand("x", [args, kwds])


# --- values


@pytest.mark.parametrize(
    ("name", "value", "properties"),
    [
        ("_priority", 0, {"priority": 0}),
        ("_priority", 255, {"priority": 255}),
        ("_expiration", 0, {"expiration": "0"}),
        ("_expiration", 0.0001, {"expiration": "1"}),
        ("_expiration", 1.5, {"expiration": "1500"}),
        ("_expiration", (2**32 - 1) / 1000, {"expiration": "4294967295"}),
        ("_message_id", "a" * 255, {"message_id": "a" * 255}),
        ("_delivery_mode", 1, {"delivery_mode": 1}),
        ("_app_id", "caffè", {"app_id": "caffè"}),
        ("_headers", {}, {"headers": {}}),
        ("_headers", {"é" * 127: "x" * 100_000}, {"headers": {"é" * 127: "x" * 100_000}}),
        ("_headers", {"n": -(2**63)}, {"headers": {"n": -(2**63)}}),
        ("_headers", {"n": None, "b": True}, {"headers": {"n": None, "b": True}}),
        ("_headers", {"CC": ["a", ""]}, {"headers": {"CC": ["a", ""]}}),
    ],
    ids=lambda value: ascii(value)[:20],
)
def test_what_is_sent(name: str, value: Any, properties: dict[str, Any]) -> None:
    options = options_from({name: value})

    assert options is not None
    assert options.properties() == properties


def test_what_was_received_can_be_sent() -> None:
    """`ReceivedMessage.headers` has mappings and tuples."""
    since = dt.datetime(2001, 1, 1, tzinfo=dt.timezone.utc)
    received = MappingProxyType({"a": (MappingProxyType({"b": decimal.Decimal("0.5")}), since)})
    options = options_from({"_headers": received})

    assert options is not None
    assert options.headers == {"a": [{"b": decimal.Decimal("0.5")}, since]}


def test_later_changes_of_the_headers_are_not_sent() -> None:
    headers: dict[str, Any] = {"a": [1]}
    options = options_from({"_headers": headers})
    headers["a"].append(2)

    assert options is not None
    assert options.headers == {"a": [1]}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("_priority", each) for each in (-1, 256, 1.0, "5", True, math.nan)),
        *(("_expiration", each) for each in (-0.001, math.nan, math.inf, 2**32 / 1000, "5", True)),
        *(("_message_id", each) for each in ("", "a" * 256, 5, b"id", "\ud800", "é" * 128)),
        *(("_delivery_mode", each) for each in (0, 3, "2", True)),
        *(("_app_id", each) for each in ("", "a" * 256, 5)),
        *(("_headers", each) for each in ([], "text", 5, [("a", 1)])),
    ],
    ids=lambda value: ascii(value)[:20],
)
def test_what_is_refused(name: str, value: Any) -> None:
    with pytest.raises(SettingsError, match=name):
        options_from({name: value})


@pytest.mark.parametrize(
    "headers",
    [
        *({"a": each} for each in (1 << 63, -(1 << 63) - 1, 0.5, math.nan, print, {1, 2})),
        *({"a": each} for each in (b"bytes", [b"bytes"], {"b": {"c": b"bytes"}}, "\ud800")),
        *({"a": each} for each in (DEEP, DEEPER, decimal.Decimal("NaN"), decimal.Decimal(2**31))),
        {"a": dt.datetime(1969, 12, 31, tzinfo=dt.timezone.utc)},
        {"a": dt.date(2001, 1, 1)},
        {"a": "x" * 128_000},
        {str(n): "x" * 100 for n in range(1300)},
        *({each: 1} for each in (1, None, b"a", "", "a" * 256, "\ud800", ("a",))),
        {"a": {1: 2}},
        *({each: "me"} for each in ("x-postage-send-id", "x-postage-anything")),
        *({each: []} for each in ("x-death", "x-delivery-count", "x-acquired-count")),
        *({each: "q"} for each in ("x-first-death-queue", "x-last-death-reason")),
        *({"CC": each} for each in ("key", 5, None, [5], ["a" * 256], {"a": 1})),
        {"BCC": "key"},
    ],
    ids=lambda value: ascii(value)[:30],
)
def test_headers_that_are_refused(headers: Any) -> None:
    with pytest.raises(SettingsError, match="_headers"):
        options_from({"_headers": headers})


names = st.text(max_size=3) | st.sampled_from(
    ["CC", "x-death", "x-postage-a", "é" * 128, "a" * 256]
)
texts = st.text() | st.sampled_from(["\ud800", "é" * 100, "x" * 300, "x" * 130_000])


@given_any(st.dictionaries(names, texts))
def test_texts_are_taken_as_they_would_be_in_another_mapping(headers: dict[str, str]) -> None:
    """Headers in another mapping than a dict are looked at more closely."""

    def taken(value: Any) -> dict[str, Any]:
        try:
            options = options_from({"_headers": value})
        except SettingsError as exc:
            return {"refused": str(exc)}
        assert options is not None
        return options.properties()

    assert taken(headers) == taken(MappingProxyType(headers))


def test_none_is_as_if_it_was_not_given() -> None:
    assert options_from(dict.fromkeys(MESSAGE_OPTIONS)) is None
    assert given(None, None, None, None, None, None) == {}
    assert given({}, 1, 2.0, "a", 2, "b") == {
        "_headers": {},
        "_priority": 1,
        "_expiration": 2.0,
        "_message_id": "a",
        "_delivery_mode": 2,
        "_app_id": "b",
    }


# --- names


@pytest.mark.parametrize("build", [DEFAULT, Message, build_any], ids=["default", "Message", "any"])
def test_options_and_parameters_are_told_apart(build: Any) -> None:
    parameters, options = split(build, {"a": 1, "_priority": 2, "b": 3}, MESSAGE_OPTIONS)

    assert parameters == {"a": 1, "b": 3}
    assert options is not None
    assert options.properties() == {"priority": 2}


@pytest.mark.parametrize(
    "build", [DEFAULT, Message, build_named], ids=["default", "Message", "named"]
)
@pytest.mark.parametrize("name", ["_delay", "_header", "_timeout", "_", "__priority", "_Priority"])
def test_unknown_names_are_refused_with_those_allowed(build: Any, name: str) -> None:
    with pytest.raises(SettingsError, match=f"^{name} .*_key, _eks, _headers, _priority, _exp"):
        split(build, {name: 1}, MESSAGE_OPTIONS)


def test_a_long_unknown_name_is_cut() -> None:
    with pytest.raises(SettingsError) as caught:
        split(DEFAULT, {"_" * 10_000: 1}, MESSAGE_OPTIONS)

    assert len(str(caught.value)) < 600


def test_the_options_of_calls_are_others() -> None:
    build = partial(command_from, RpcCommand, "x")
    with pytest.raises(SettingsError, match="_expiration is no option of calls: _timeout"):
        split(build, {"_expiration": 1}, CALL_OPTIONS)
    with pytest.raises(SettingsError, match=r"_timeout, _max_retry, _queue_only, _headers"):
        split(build, {"_delay": 1}, CALL_OPTIONS)


def test_a_parameter_of_the_builder_is_no_option() -> None:
    """As in 1.2.1, where there were no such options."""
    keywords = {"item": 1, "_priority": "high", "_shelf": 3, "_app_id": "a"}
    parameters, options = split(build_named, keywords, MESSAGE_OPTIONS)

    assert parameters == {"item": 1, "_priority": "high", "_shelf": 3}
    assert options is not None
    assert options.properties() == {"app_id": "a"}


def test_a_builder_of_anything_gets_what_is_no_option() -> None:
    parameters, options = split(build_any, {"_shelf": 3, "_app_id": "a"}, MESSAGE_OPTIONS)

    assert parameters == {"_shelf": 3}
    assert options is not None


@pytest.mark.parametrize("build", [dict, type, print], ids=["dict", "type", "print"])
def test_builders_written_in_c(build: Any) -> None:
    parameters, _ = split(build, {"_app_id": "a"}, MESSAGE_OPTIONS)

    assert parameters == {}
