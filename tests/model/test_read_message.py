"""A message whose envelope was kept is read as if all of it were decoded, by both libraries."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postage import encoding
from postage.encoding import (
    LONGEST_ENVELOPE,
    MOST_KNOWN,
    MOST_SEEN,
    JsonEncoder,
    read_message,
)
from postage.errors import DecodingError, MalformedMessage
from postage.message import check_body
from tests.support.json_library import by_the_standard_library

SENDER = {"name": "shop", "pid": "17", "host": "a.example"}
BLANKS = ((", ", ": "), (",", ":"))


def message(content: Any, **others: Any) -> dict[str, Any]:
    """Return the body of a message with this content."""
    body: dict[str, Any] = {"type": "command", "name": "count", "category": "rpc", "version": "2"}
    body |= {"fingerprint": SENDER, "content": content, "_reserved": {}}
    return body | others


def text_of(body: object, blanks: tuple[str, str] = BLANKS[0]) -> bytes:
    """Return *body* as a peer sends it."""
    return json.dumps(body, separators=blanks).encode()


def by_all_of_it(data: bytes) -> Any:
    """Return what *data* is if nothing is known, or the error."""
    try:
        return check_body(JsonEncoder.decode(data))
    except (DecodingError, MalformedMessage) as exc:
        return f"{type(exc).__name__} {exc}"


def keep(data: bytes) -> None:
    """Read a message so often that its envelope is kept."""
    for _ in range(2):
        read_message(data)
    assert encoding._known


def read(data: bytes) -> Any:
    """Return the message in *data*, or the error."""
    try:
        return read_message(data)
    except (DecodingError, MalformedMessage) as exc:
        return f"{type(exc).__name__} {exc}"


@pytest.fixture(autouse=True)
def _forgetful(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoding, "_known", {})
    monkeypatch.setattr(encoding, "_seen", set())


@pytest.fixture(params=["fast", "standard"], autouse=True)
def _library(request: pytest.FixtureRequest) -> Iterator[None]:
    if request.param == "standard":
        with by_the_standard_library():
            yield
    else:
        pytest.importorskip("orjson")
        yield


texts = st.sampled_from(["content", '"content":', 'x"content', "_reserved", "}", "a", "\u00e9"])
scalars = st.none() | st.booleans() | st.integers(0, 2) | texts
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(texts, inner, max_size=2),
    max_leaves=4,
)
bodies = st.builds(
    message,
    st.dictionaries(texts, values, max_size=2) | values,
    name=texts,
    fingerprint=st.dictionaries(texts, texts | values, max_size=2),
    _reserved=st.just({}) | values,
)
odd_bodies = st.builds(
    lambda body, order, more: dict(sorted(body.items(), key=lambda item: order[item[0]])) | more,
    bodies,
    st.permutations(range(7)).map(lambda order: dict(zip(message({}), order, strict=True))),
    st.dictionaries(texts, values, max_size=1),
)


@given(st.lists(bodies | odd_bodies, min_size=1, max_size=4), st.sampled_from(BLANKS))
def test_a_message_is_read_as_if_all_were_decoded(
    sent: list[dict[str, Any]], blanks: tuple[str, str]
) -> None:
    for body in 3 * sent:
        data = text_of(body, blanks)
        mine, whole = read(data), by_all_of_it(data)
        assert mine == whole
        assert list(mine) == list(whole)  # the order of the keys


@given(st.binary(max_size=4), st.integers(0, 200), st.integers(0, 20))
def test_bytes_between_those_that_are_known_are_not_trusted(
    junk: bytes, place: int, size: int
) -> None:
    data = text_of(message({"parameters": {"content": [{}]}}))
    keep(data)
    changed = data[:place] + junk + data[place + size :]
    assert read(changed) == by_all_of_it(changed)


@pytest.mark.parametrize(
    "content",
    [
        b'{"a": 1}, "name": "other"',
        b'{"a": 1}, "content": {"b": 2}',
        b'{"a": 1}}, "x": {',
        b"[]",
        b"1",
        b"",
        b"{}  ",
        b'{"a": NaN}',
        b'{"a": 1e999}',
        b'{"a": "\xff"}',
        b'{"a": "\\ud800"}',
        b'{"a": 123456789012345678901234567890}',
        b'{"a": %s1%s}' % (b"[" * 197, b"]" * 197),
        b'{"a": %s1%s}' % (b"[" * 198, b"]" * 198),
        b'{"a": %s1%s}' % (b"[" * 199, b"]" * 199),
        b'{"a": %s1%s}' % (b"[" * 9999, b"]" * 9999),
    ],
)
def test_a_content_is_read_or_refused_as_in_a_whole_body(content: bytes) -> None:
    before, after = text_of(message({"a": 0})).split(b'{"a": 0}')
    keep(before + b"{}" + after)
    data = before + content + after
    assert read(data) == by_all_of_it(data)


def test_messages_with_one_envelope_share_nothing() -> None:
    data = text_of(message({}))
    for _ in range(4):
        body = read_message(data)
        assert body == message({})
        body["fingerprint"]["name"] = body["content"]["more"] = body["_reserved"]["more"] = 1
        body["name"] = "changed"


def test_a_fingerprint_of_objects_is_not_shared_either() -> None:
    data = text_of(message({}, fingerprint={"groups": []}))
    for _ in range(4):
        body = read_message(data)
        assert body["fingerprint"] == {"groups": []}
        body["fingerprint"]["groups"].append(1)


def test_an_envelope_is_kept_for_both_kinds_of_blanks() -> None:
    for blanks in BLANKS:
        keep(text_of(message({}), blanks))
    assert len(encoding._known) == 2


def test_the_envelope_of_a_single_message_is_not_kept() -> None:
    read_message(text_of(message({})))
    assert not encoding._known


def test_envelopes_without_end_are_not_all_kept() -> None:
    for number in range(2 * MOST_KNOWN):
        keep(text_of(message({}, name=str(number))))
    assert len(encoding._known) == MOST_KNOWN

    for number in range(MOST_SEEN):
        read_message(text_of(message({}, name=f"once {number}")))
    assert len(encoding._seen) <= MOST_SEEN


def test_a_long_envelope_is_not_kept() -> None:
    for size in (10, LONGEST_ENVELOPE):
        for _ in range(3):
            read_message(text_of(message({}, name=size * "x")))
    assert len(encoding._known) == 1


def test_what_cannot_be_kept_is_looked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    data = text_of(message({}, fingerprint={"pid": 17}))
    keep(data)
    monkeypatch.setattr(encoding, "_envelope_of", None)  # fails if it is called
    assert read_message(data) == message({}, fingerprint={"pid": 17})
