"""The envelope: what a body must look like to be a message."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postage.envelope import check
from postage.errors import MalformedMessage
from postage.message import (
    Message,
    MessageCommand,
    MessageResult,
    MessageResultError,
    MessageResultException,
    MessageStatus,
    RpcCommand,
)

KEYS = ("type", "name", "category", "version", "fingerprint", "content", "_reserved")
STRINGS = KEYS[:4]


def body(**changes):
    """Return the body of a command with *changes*."""
    return MessageCommand("sum", {"a": 1}).body | changes


@pytest.mark.behaviour("message-seven-keys", "message-types")
@pytest.mark.parametrize(
    "message",
    [
        *(Message(), MessageCommand("a"), RpcCommand("a"), MessageStatus("a"), MessageResult(1)),
        *(MessageResultError(""), MessageResultException("", "")),
    ],
    ids=lambda message: type(message).__name__,
)
def test_every_message_of_ours_is_one(message):
    assert check(message.body) is message.body


def test_keys_of_a_later_form_are_let_through():
    assert check(body(trace="1"))["trace"] == "1"


@pytest.mark.behaviour("message-types")
def test_types_and_names_are_free():
    assert check(body(type="", name=""))
    assert check(body(type="alarm", name="f\u00fcr \u20ac"))


@pytest.mark.behaviour("message-types", "message-outcomes")
@pytest.mark.parametrize("category", ["", "MESSAGE", "RPC", "event", "rpc ", "x" * 10_000])
def test_categories_are_not(category):
    with pytest.raises(MalformedMessage, match=r"category .* is none of") as caught:
        check(body(category=category))
    assert len(str(caught.value)) < 100


@pytest.mark.behaviour("message-seven-keys", "message-outcomes")
@pytest.mark.parametrize("version", ["1", "3", "", "2.0", " 2", "2" * 10_000])
def test_no_other_version_is_understood(version):
    with pytest.raises(MalformedMessage, match=r"version .* is not '2'") as caught:
        check(body(version=version))
    assert len(str(caught.value)) < 100


@pytest.mark.behaviour("message-outcomes")
@pytest.mark.parametrize("other", [None, 1, 1.5, True, "text", b"bytes", [], [1, 2], ()])
def test_what_is_no_object_is_no_message(other):
    with pytest.raises(MalformedMessage, match=f"is a {type(other).__name__}, not an object"):
        check(other)


@pytest.mark.behaviour("message-seven-keys", "message-outcomes")
@pytest.mark.parametrize("key", KEYS)
def test_each_key_must_be_there(key):
    incomplete = body()
    del incomplete[key]

    with pytest.raises(MalformedMessage, match=f"the key '{key}' is missing"):
        check(incomplete)


@pytest.mark.behaviour("message-seven-keys", "message-outcomes")
@pytest.mark.parametrize("value", [None, 2, 2.0, True, [], ["a"]], ids=repr)
@pytest.mark.parametrize("key", KEYS)
def test_each_key_must_have_its_kind_of_value(key, value):
    with pytest.raises(MalformedMessage, match=f"'{key}' is a {type(value).__name__}, not a "):
        check(body(**{key: value}))


@pytest.mark.behaviour("message-seven-keys", "message-outcomes")
@pytest.mark.parametrize("key", KEYS)
def test_strings_are_no_objects_and_objects_no_strings(key):
    with pytest.raises(MalformedMessage, match=f"'{key}' is a"):
        check(body(**{key: {"nested": {}} if key in STRINGS else "text"}))


anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text()
    | st.sampled_from(["2", "rpc", "message"]),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(KEYS) | st.text(), inner),
    max_leaves=12,
)


@given(value=anything)
def test_whatever_comes_it_is_a_message_or_malformed(value):
    try:
        assert check(value) is value
    except MalformedMessage as exc:
        reason = str(exc)
    else:
        reason = "none"
    assert reason
