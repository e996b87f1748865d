"""The frames of messages are written byte for byte as by pika, and read as pika reads them."""

from __future__ import annotations

import time
from typing import Any

import pika.exceptions
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pika.spec import Basic

from postage.errors import SettingsError
from postage.green.amqp.codec import Codec, content_frames, publish_frame
from postage.green.amqp.properties import Properties
from tests.support.fed_transport import arguments
from tests.support.wire import (
    channels,
    content,
    delivers,
    method,
    short_strings,
    some_properties,
    tags,
)


class Transport:
    """Collects the bytes that a codec writes."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.write = self.written.append
        self.feed: Any = None
        self.bytes_received = 0


def codec_that_writes() -> tuple[Codec, list[bytes]]:
    """Return a codec, and the list of what it writes."""
    transport: Any = Transport()
    return Codec(transport), transport.written


@given(channels, short_strings, short_strings, st.booleans())
@example(65535, "", "", True)
def test_publish(channel: int, exchange: str, key: str, mandatory: bool) -> None:
    theirs = method(channel, Basic.Publish(exchange=exchange, routing_key=key, mandatory=mandatory))
    assert publish_frame(channel, exchange, key, mandatory) == theirs


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
    ours = content_frames(channel, Properties(**values).encode(), body, frame_max)
    assert ours == b"".join(content(channel, values, body, frame_max - 8))


@given(channels, tags, st.booleans())
def test_ack(channel: int, tag: int, multiple: bool) -> None:
    theirs = method(channel, Basic.Ack(delivery_tag=tag, multiple=multiple))
    codec, written = codec_that_writes()
    codec.ack(channel, tag, multiple=multiple)
    assert written == [theirs]


@given(channels, tags, st.booleans())
def test_reject(channel: int, tag: int, requeue: bool) -> None:
    theirs = method(channel, Basic.Reject(delivery_tag=tag, requeue=requeue))
    codec, written = codec_that_writes()
    codec.reject(channel, tag, requeue=requeue)
    assert written == [theirs]


@pytest.mark.parametrize("text", ["x" * 256, "ä" * 128])
def test_a_text_over_255_bytes_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="255 bytes"):
        publish_frame(1, "", text, False)
    with pytest.raises(SettingsError, match="255 bytes"):
        Properties(correlation_id=text).encode()
    with pytest.raises(pika.exceptions.ShortStringTooLong):  # as pika does
        method(1, Basic.Publish(routing_key=text))


@given(channels, delivers)
def test_deliver(channel: int, deliver: Any) -> None:
    codec, _ = codec_that_writes()
    got: list[Any] = []
    codec.add_consumer(channel, deliver.consumer_tag, got.append)
    before = time.monotonic()
    codec.feed(method(channel, deliver) + content_frames(channel, bytes(2), b"body", 4096))
    (found,) = got
    assert before <= found.received <= time.monotonic()
    assert arguments(found) == (
        deliver.consumer_tag,
        deliver.delivery_tag,
        deliver.redelivered,
        deliver.exchange,
        deliver.routing_key,
    )
