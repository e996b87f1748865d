"""The hot path's codec against pika's: what we write is byte for byte what pika would write."""

from __future__ import annotations

from typing import Any

import pika
import pika.connection
import pika.exceptions
import pika.frame
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pika.spec import Basic

from postage.errors import SettingsError
from postage.green.amqp import frames
from postage.green.amqp.codec import from_pika
from postage.green.amqp.frames import Confirm, Deliver, Properties, PropertiesTemplate
from tests.support.wire import (
    channels,
    confirms,
    content,
    delivers,
    method,
    short_strings,
    some_properties,
    tags,
)

AT = 7
"""Where the payload of a frame begins."""


def payload(frame: bytes) -> bytes:
    """Return what stands between the head and the end of *frame*."""
    return frame[AT:-1]


def test_the_names_of_the_properties_are_pikas() -> None:
    assert [name.upper() for name in Properties.NAMES] == [
        name.removeprefix("FLAG_")
        for name, _ in sorted(
            ((n, v) for n, v in vars(pika.BasicProperties).items() if n.startswith("FLAG_")),
            key=lambda flag: -flag[1],
        )
    ]


# --- out


@given(channels, short_strings, short_strings, st.booleans())
@example(65535, "", "", True)
def test_publish(channel: int, exchange: str, key: str, mandatory: bool) -> None:
    theirs = method(channel, Basic.Publish(exchange=exchange, routing_key=key, mandatory=mandatory))
    assert frames.publish_method(channel, exchange, key, mandatory) == theirs


@given(some_properties)
@example({})
@example({"headers": {}})
def test_properties_out(values: dict[str, Any]) -> None:
    theirs = pika.frame.Header(1, 0, pika.BasicProperties(**values)).marshal()
    assert Properties(**values).encode() == payload(theirs)[12:]


@given(some_properties, st.sampled_from(Properties.NAMES))
def test_a_property_set_to_none_is_absent(values: dict[str, Any], name: str) -> None:
    properties = Properties(**values)
    setattr(properties, name, None)
    values.pop(name, None)
    assert properties.encode() == Properties(**values).encode()
    assert properties == Properties(**values)
    assert properties.as_dict() == values


@given(some_properties, st.sampled_from(["message_id", "correlation_id"]), short_strings, st.data())
def test_a_form_says_what_the_properties_alone_would(
    values: dict[str, Any], own: str, text: str, data: Any
) -> None:
    values = {name: values[name] for name in values.keys() - {own, "headers"}}
    names = data.draw(st.permutations(sorted(values)))

    filled = PropertiesTemplate(own, *names).render(text, *(values[name] for name in names))

    alone = Properties(**{**values, own: text})
    assert filled.encode() == alone.encode()
    filled.app_id = alone.app_id = "changed"
    assert filled.encode() == alone.encode(), "what is changed does not stay as it was"
    assert filled == alone


@given(st.data(), channels, st.sampled_from([9, 64, 4096, 131072]), some_properties)
def test_content(data: Any, channel: int, frame_max: int, values: dict[str, Any]) -> None:
    size = data.draw(st.integers(0, min(3 * frame_max, 3000)))
    assert_same_content(channel, values, bytes(i & 255 for i in range(size)), frame_max)


@pytest.mark.parametrize("frame_max", [9, 64, 4096, 131072])
@pytest.mark.parametrize("frames_full", [0, 1, 2, 3])
@pytest.mark.parametrize("more", [-1, 0, 1])
def test_content_whose_body_just_fits(frame_max: int, frames_full: int, more: int) -> None:
    size = max(0, frames_full * (frame_max - 8) + more)
    assert_same_content(7, {"content_type": "a/b"}, b"\xce" * size, frame_max)


def assert_same_content(channel: int, values: Any, body: bytes, frame_max: int) -> None:
    """Encode both ways and compare."""
    ours = frames.content_frames(channel, Properties(**values).encode(), body, frame_max)
    assert ours == b"".join(content(channel, values, body, frame_max - 8))


@given(channels, tags, st.booleans())
def test_ack(channel: int, tag: int, multiple: bool) -> None:
    theirs = method(channel, Basic.Ack(delivery_tag=tag, multiple=multiple))
    assert frames.encode_ack(channel, tag, multiple=multiple) == theirs


@given(channels, tags, st.booleans())
def test_reject(channel: int, tag: int, requeue: bool) -> None:
    theirs = method(channel, Basic.Reject(delivery_tag=tag, requeue=requeue))
    assert frames.encode_reject(channel, tag, requeue=requeue) == theirs


@pytest.mark.parametrize("text", ["x" * 256, "ä" * 128])
def test_a_text_over_255_bytes_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="255 bytes"):
        frames.publish_method(1, "", text, False)
    with pytest.raises(SettingsError, match="255 bytes"):
        Properties(correlation_id=text).encode()
    with pytest.raises(pika.exceptions.ShortStringTooLong):  # as pika does
        method(1, Basic.Publish(routing_key=text))


def test_an_unknown_property_is_refused() -> None:
    with pytest.raises(TypeError, match="colour"):
        Properties(colour="red")


# --- in


@given(channels, delivers)
def test_deliver(channel: int, deliver: Any) -> None:
    frame = method(channel, deliver)
    found = frames.decode_deliver(frame, AT, len(frame) - 1)
    assert found == Deliver(
        deliver.consumer_tag,
        deliver.delivery_tag,
        deliver.redelivered,
        deliver.exchange,
        deliver.routing_key,
    )


@given(channels, confirms)
def test_confirm(channel: int, confirm: Any) -> None:
    found = frames.decode_confirm(method(channel, confirm), AT)
    nack = isinstance(confirm, Basic.Nack)
    assert found == Confirm(confirm.delivery_tag, confirm.multiple, nack)


@given(some_properties)
def test_properties_in(values: dict[str, Any]) -> None:
    frame = pika.frame.Header(1, 0, pika.BasicProperties(**values)).marshal()
    _, theirs = pika.frame.decode_frame(frame)
    ours = Properties.decode(payload(frame)[12:])
    assert ours == from_pika(theirs.properties)
    assert ours.as_dict().keys() == values.keys()


@given(some_properties)
def test_what_was_received_is_sent_again_as_it_was(values: dict[str, Any]) -> None:
    wire = Properties(**values).encode()
    received = Properties.decode(wire)
    assert received.encode() == wire, "unread"
    received.as_dict()
    assert Properties.decode(received.encode()) == received, "read"


def test_bytes_that_are_no_utf8_survive_the_way_in_and_out() -> None:
    wire = b"\x04\x00\x03\xff\xfe\x00"  # a correlation id
    assert Properties.decode(wire).encode() == wire
