"""A message whose envelope was kept has the bytes of the whole body, on both JSON libraries."""

from __future__ import annotations

import copy
import enum
import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postage.encoding import (
    MOST_ENVELOPES,
    Encoder,
    Envelopes,
    Forwarded,
    JsonEncoder,
    body_of,
)
from postage.errors import EncodingError
from postage.message import (
    Message,
    MessageCommand,
    MessageResult,
    MessageResultError,
    MessageResultException,
    MessageStatus,
    RpcCommand,
)
from tests.support.json_library import by_the_standard_library

SENDER = {"name": "shop", "pid": "17", "host": "a.example"}

texts = st.text(max_size=10)
scalars = st.none() | st.booleans() | st.integers() | st.floats() | texts | st.uuids()
values = st.recursive(
    scalars | st.frozensets(st.integers(0, 1), max_size=1),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=10,
)
messages = st.one_of(
    st.builds(MessageCommand, texts, values),
    st.builds(RpcCommand, texts, values),
    st.builds(MessageResult, values, texts),
    st.builds(MessageResult, values),
    st.builds(MessageResultError, texts),
    st.builds(MessageResultException, texts, texts),
    st.builds(MessageStatus, texts),
    st.builds(Message, values, value=values),
)
fingerprints = st.dictionaries(texts, texts | st.integers(0, 1) | st.booleans(), max_size=3)


class Backwards(Encoder):
    """Text that is not JSON."""

    @classmethod
    def encode(cls, data: Any) -> str:
        """Return the letters in the reverse order."""
        return repr(data)[::-1]


class Colour(str, enum.Enum):
    """A type that is text, and has another text."""

    RED = "red"


def whole(message: Message, fingerprint: dict[str, Any]) -> bytes | str:
    """Return all of the body, encoded at once, or the error."""
    body = {**message.body, "fingerprint": {**message.body["fingerprint"], **fingerprint}}
    try:
        return body_of(JsonEncoder(), body)
    except EncodingError as exc:
        return str(exc)


def encoded(envelopes: Envelopes, message: Message, fingerprint: dict[str, Any]) -> bytes | str:
    """Return what *envelopes* make of *message*, or the error."""
    try:
        return envelopes.encode(JsonEncoder(), message, fingerprint)
    except EncodingError as exc:
        return str(exc)


def nested(depth: int) -> Any:
    """Return lists in each other."""
    value: Any = []
    for _ in range(depth - 1):
        value = [value]
    return value


@pytest.fixture(params=["fast", "standard"], autouse=True)
def _library(request: pytest.FixtureRequest) -> Iterator[None]:
    if request.param == "standard":
        with by_the_standard_library():
            yield
    else:
        pytest.importorskip("orjson")
        yield


@given(st.lists(st.tuples(messages, fingerprints), min_size=1, max_size=5))
def test_the_bytes_are_those_of_the_whole_body(sent: list[tuple[Message, dict[str, Any]]]) -> None:
    envelopes = Envelopes()
    for message, fingerprint in sent + sent:
        mine = encoded(envelopes, message, fingerprint)
        assert mine == whole(message, fingerprint)


@pytest.mark.parametrize("kind", [partial(MessageCommand, "x"), MessageResult])
@pytest.mark.parametrize("depth", [195, 198, 199, 200, 201])
def test_a_content_may_nest_as_deep_as_in_a_whole_body(
    kind: Callable[[Any], Message], depth: int
) -> None:
    envelopes = Envelopes()
    envelopes.encode(JsonEncoder(), kind(1), SENDER)
    mine = encoded(envelopes, kind(nested(depth)), SENDER)
    assert mine == whole(kind(nested(depth)), SENDER)
    assert isinstance(mine, str) is (depth > 198)


def test_values_and_texts_of_results_are_not_mixed_up() -> None:
    envelopes, none = Envelopes(), {"parameters": None}
    for result in (
        *(MessageResult(1), MessageResult(None), MessageResult(1, "text"), MessageResult("null")),
        *(MessageResultError(""), MessageResultException("", ""), MessageResult(none)),
        *(MessageStatus("none"), Message(), MessageCommand("none"), MessageCommand("none", none)),
    ):
        for _ in range(2):
            again = copy.deepcopy(result)
            assert encoded(envelopes, again, SENDER) == whole(result, SENDER)


@pytest.mark.parametrize("value", [{1, 2}, math.nan, object(), "\ud800", b"bytes", None])
def test_a_value_is_encoded_or_refused_as_in_a_whole_body(value: Any) -> None:
    envelopes = Envelopes()
    envelopes.encode(JsonEncoder(), MessageCommand("x", 1), SENDER)
    message = MessageCommand("x", {"value": value})
    assert encoded(envelopes, message, SENDER) == whole(message, SENDER)


def test_a_change_of_the_fingerprint_is_seen() -> None:
    envelopes, changing = Envelopes(), {**SENDER, "nested": ["a"]}
    for value in ("1", 1, True, 1.0, ["b"]):
        changing["pid"] = value
        changing["nested"].append("b")
        message = MessageCommand("x", 1)
        assert encoded(envelopes, message, changing) == whole(message, changing)


def test_a_body_that_was_changed_is_sent_as_it_is() -> None:
    envelopes, message = Envelopes(), MessageCommand("x", 1)
    envelopes.encode(JsonEncoder(), MessageCommand("x", 1), SENDER)
    message.body["_reserved"]["more"] = 1
    message.fingerprint(name="other", more="text")
    assert b'"more":1' in envelopes.encode(JsonEncoder(), message, {}).replace(b" ", b"")
    message = MessageCommand("x", 1)
    message.body = {"no": "message", "fingerprint": {}}
    assert b'"no"' in envelopes.encode(JsonEncoder(), message, SENDER)


def test_a_type_that_is_a_member_of_an_enum_is_sent() -> None:
    class Painted(Message):
        """A message with an odd type."""

        type = Colour.RED

    envelopes = Envelopes()
    for message in (Painted(1), Painted(2)):
        assert encoded(envelopes, message, SENDER) == whole(message, SENDER)


def test_names_without_end_are_not_all_kept() -> None:
    envelopes = Envelopes()
    for number in range(2 * MOST_ENVELOPES):
        message = MessageStatus(number)
        assert encoded(envelopes, message, SENDER) == whole(message, SENDER)
    assert len(envelopes._kept[1]) <= MOST_ENVELOPES


def test_other_encoders_get_the_whole_body() -> None:
    message = MessageCommand("x", 1)
    text = Envelopes().encode(Backwards(), message, SENDER)
    assert text == body_of(Backwards(), message.body)
    assert message.body["fingerprint"] == SENDER


def test_a_forwarded_body_gets_no_fingerprint() -> None:
    assert Envelopes().encode(JsonEncoder(), Forwarded([1]), SENDER) == b"[1]"
