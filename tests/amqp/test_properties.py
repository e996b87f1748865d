"""The properties of messages are written and read byte for byte as by pika."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pika
import pika.frame
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from postage.errors import MalformedMessage
from postage.green.amqp.properties import (
    Properties,
    PropertiesTemplate,
    _values_around_id,
    added,
    correlation_id_of,
)
from tests.support.wire import short_strings, some_properties


def values_in(frame: bytes) -> bytes:
    """Return flags and values of the properties in a header *frame*."""
    return frame[7 + 12 : -1]


def test_the_names_of_the_properties_are_pikas() -> None:
    assert [name.upper() for name in Properties.NAMES] == [
        name.removeprefix("FLAG_")
        for name, _ in sorted(
            ((n, v) for n, v in vars(pika.BasicProperties).items() if n.startswith("FLAG_")),
            key=lambda flag: -flag[1],
        )
    ]


@given(some_properties)
@example({})
@example({"headers": {}})
def test_properties_out(values: dict[str, Any]) -> None:
    theirs = pika.frame.Header(1, 0, pika.BasicProperties(**values)).marshal()
    assert Properties(**values).encode() == values_in(theirs)


@given(some_properties, st.sampled_from(Properties.NAMES))
def test_a_property_set_to_none_is_absent(values: dict[str, Any], name: str) -> None:
    properties = Properties(**values)
    setattr(properties, name, None)
    values.pop(name, None)
    assert properties.encode() == Properties(**values).encode()
    assert properties == Properties(**values)
    assert properties.as_dict() == values


@given(some_properties, some_properties)
@example({"content_type": "a", "delivery_mode": 2}, {"headers": {"a": "b"}})
@example({"content_type": "a", "content_encoding": "b"}, {"headers": {}})
@example({"headers": {"a": 1}}, {"headers": {"b": 2}})
@example({}, {"headers": {"a": "b"}})
def test_properties_added_to_others(values: dict[str, Any], more: dict[str, Any]) -> None:
    wire = added(Properties(**values).encode(), more)

    assert wire == Properties(**{**values, **more}).encode()


@given(some_properties, st.sampled_from(["message_id", "correlation_id"]), short_strings, st.data())
def test_a_template_renders_what_the_properties_alone_would(
    values: dict[str, Any], own: str, text: str, data: Any
) -> None:
    values = {name: values[name] for name in values.keys() - {own, "headers"}}
    names = data.draw(st.permutations(sorted(values)))

    filled = PropertiesTemplate(own, *names).render(text, *(values[name] for name in names))

    alone = Properties(**{**values, own: text})
    assert filled == alone.encode()
    decoded = Properties.decode(filled)
    decoded.app_id = alone.app_id = "changed"
    assert decoded.encode() == alone.encode(), "what is changed does not stay as it was"
    assert decoded == alone


def test_an_unknown_property_is_refused() -> None:
    with pytest.raises(TypeError, match="colour"):
        Properties(colour="red")


@given(some_properties)
def test_properties_in(values: dict[str, Any]) -> None:
    frame = pika.frame.Header(1, 0, pika.BasicProperties(**values)).marshal()
    _, theirs = pika.frame.decode_frame(frame)
    ours = Properties.decode(values_in(frame))
    assert ours == Properties.from_pika(theirs.properties)
    assert ours.as_dict().keys() == values.keys()


@given(some_properties)
def test_what_was_received_is_sent_again_as_it_was(values: dict[str, Any]) -> None:
    wire = Properties(**values).encode()
    received = Properties.decode(wire)
    assert received.encode() == wire, "unread"
    received.as_dict()
    assert Properties.decode(received.encode()) == received, "read"


@given(some_properties, st.data())
def test_the_correlation_id_alone_is_that_of_all_properties(
    values: dict[str, Any], data: Any
) -> None:
    wire = Properties(**values).encode()
    assert correlation_id_of(wire) == values.get("correlation_id")
    damaged = bytearray(wire)
    damaged[data.draw(st.integers(0, len(wire) - 1))] = data.draw(st.integers(0, 255))
    for odd in (wire[: data.draw(st.integers(0, len(wire)))], bytes(damaged)):
        assert_same_correlation_id(odd)


def assert_same_correlation_id(wire: bytes) -> None:
    """Read it alone and with the others; if one of the two ways fails, the other fails alike."""
    alone = outcome(lambda: correlation_id_of(wire))
    assert alone == outcome(lambda: Properties.decode_now(wire).correlation_id)


def outcome(read: Callable[[], object]) -> object:
    """Return what *read* returns, or the text of its error."""
    try:
        return read()
    except MalformedMessage as exc:
        return str(exc)


def test_bytes_that_are_no_utf8_survive_the_way_in_and_out() -> None:
    wire = b"\x04\x00\x03\xff\xfe\x00"  # a correlation id
    assert Properties.decode(wire).encode() == wire


@given(some_properties, short_strings)
def test_properties_around_an_id_are_decoded_anew(values: dict[str, Any], id_: str) -> None:
    calls = [{**values, "content_type": "text", "correlation_id": each} for each in (id_, "b", id_)]
    for call in calls:
        received = Properties.decode_now(Properties(**call).encode())
        assert received == Properties(**call)
        received.reply_to = received.correlation_id = "changed"


@given(some_properties, st.data())
def test_damaged_properties_fail_alike_at_once_or_later(values: dict[str, Any], data: Any) -> None:
    wire = Properties(**{**values, "content_type": "text", "correlation_id": "b"}).encode()
    damaged = bytearray(wire)
    damaged[data.draw(st.integers(0, len(wire) - 1))] = data.draw(st.integers(0, 255))
    for odd in (wire[: data.draw(st.integers(0, len(wire)))], bytes(damaged)):
        at_once = outcome(lambda odd=odd: Properties.decode_now(odd).as_dict())
        assert at_once == outcome(lambda odd=odd: Properties.decode(odd).as_dict())


def test_long_properties_are_not_kept() -> None:
    _values_around_id.cache_clear()
    for _ in range(2):
        call = Properties(content_type="text", correlation_id="b", app_id="x" * 255)
        assert Properties.decode_now(call.encode()) == call
    assert _values_around_id.cache_info().currsize == 0
