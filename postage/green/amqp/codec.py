"""Messages to bytes and back: publishes and acks out, deliveries and confirms in.

How it works
------------
pika makes many small objects to encode or decode a frame.  This codec handles only the frames that
every message needs, at a tenth of the cost, and passes all others to pika:

* **Out**: basic.publish with its content, basic.ack and basic.reject become one piece of bytes
  each.  The frame of basic.publish, the same for all messages to an exchange and key, is cached.
* **In**: `Codec.feed` takes the bytes from the socket, cuts them into frames, and keeps an
  incomplete frame for the next call.  A basic.deliver opens a `Delivery` on its channel; the header
  and the body frames that follow on this channel complete it, and then it goes to its consumer.
  Frames of different channels may be mixed.  basic.ack and basic.nack are confirms of publishes.

pika's channels never see those frames, so the callbacks for deliveries and confirms are registered
here.  Nothing here switches greenlets; all callbacks run in the hub.
"""

from __future__ import annotations

import math
import struct
import time
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

import pika.exceptions
import pika.frame

from postage.errors import ChannelRefused
from postage.green.amqp.delivery import Delivery
from postage.green.amqp.hub_logging import HubLogger
from postage.green.amqp.properties import Properties, short_string, short_string_at
from postage.green.amqp.transport import Transport
from postage.protocol import (
    ACK,
    BASIC,
    BODY,
    CONTENT_HEAD,
    DELIVER,
    FRAME_END,
    FRAME_END_BYTE,
    FRAME_HEAD,
    FRAME_MIN_SIZE,
    FRAME_OVERHEAD,
    FRAME_TYPES,
    HEADER,
    METHOD,
    NACK,
    PUBLISH,
    REJECT,
    method_id,
)

__all__ = ["Codec", "OnConfirm", "OnMessage", "ack_frame", "not_called"]

logger = HubLogger(__name__)

OnMessage = Callable[[Delivery], None]
OnConfirm = Callable[[int, bool, bool], None]
"""Takes a tag, whether it covers all publishes up to it, and whether the broker refuses them."""

FRAME_MAX = 131072
"""Bytes of the largest frame if the broker sets no limit; RabbitMQ's default."""
SMALL = FRAME_MIN_SIZE - FRAME_OVERHEAD
"""Bytes of a payload that every peer accepts; only a larger one needs a look at the limit."""
LEAST_HEADER = 14
"""Bytes of a header frame's payload without properties."""

_CONFIRMS = (ACK, NACK)
_BARRIER = method_id(BASIC, 10) + bytes(7)
"""basic.qos with its default for all arguments: no limit for the consumers started later."""
_QOS_OK = method_id(BASIC, 11)
_ACK_FRAME = struct.Struct(">BHI4sQBc")
_TAG_AND_BITS = struct.Struct(">QB")


class Codec:
    """Encodes and decodes the messages of one transport, whose input it takes over from pika."""

    def __init__(self, transport: Transport) -> None:
        self._transport, self._write = transport, transport.write
        self._rest = b""  # an incomplete frame
        self._now = 0.0  # when the bytes that `feed` handles arrived
        # By channel: an incomplete delivery, the bytes that its body lacks, and the parts so far.
        self._incoming: dict[int, Delivery] = {}
        self._missing: dict[int, int] = {}
        self._parts: dict[int, list[bytes]] = {}
        self._consumers: dict[tuple[int, str], OnMessage] = {}
        self.delivered: dict[int, int] = {}
        """The last delivery tag of each channel, which counts its deliveries."""
        self._confirms: dict[int, OnConfirm] = {}
        self._barriers: dict[int, Callable[[], None]] = {}
        self.max_body = math.inf
        """Bytes of the largest body that the broker takes.  It tells when it refuses one, at the
        price of the channel, so further ones are refused here."""
        transport.feed = self.feed

    # --- out

    def publish(  # noqa: PLR0913 - the arguments of basic.publish
        self,
        channel: int,
        exchange: str,
        key: str,
        properties: Properties,
        body: bytes,
        *,
        mandatory: bool,
    ) -> bytes:
        """Write a basic.publish with its content, and return its frames.

        Raises `SettingsError` for an overlong text, and `ChannelRefused` for a body that the broker
        would refuse, as far as `max_body` tells.
        """
        method = publish_frame(channel, exchange, key, mandatory)
        frame_max = FRAME_MIN_SIZE if len(body) < SMALL else self._frame_max_for(len(body))
        frames = method + content_frames(channel, properties.encode(), body, frame_max)
        self._write(frames)
        return frames

    def ack(self, channel: int, tag: int, *, multiple: bool) -> None:
        """Write a basic.ack."""
        self._write(ack_frame(channel, tag, multiple=multiple))

    def reject(self, channel: int, tag: int, *, requeue: bool) -> None:
        """Write a basic.reject."""
        self._write(_ACK_FRAME.pack(METHOD, channel, 13, REJECT, tag, requeue, FRAME_END))

    def _frame_max_for(self, size: int) -> int:
        if size > self.max_body:
            raise ChannelRefused(
                406, f"message size {size} is larger than configured max size {self.max_body}"
            )
        return self._frame_max

    @property
    def _frame_max(self) -> int:
        return self._transport.params.frame_max or FRAME_MAX

    def send_barrier(self, channel: int, on_answer: Callable[[], None]) -> None:
        """Write a basic.qos that changes nothing; the broker answers in the order of the channel.

        pika would hold back all other methods of the channel until the answer.
        """
        self._barriers[channel] = on_answer
        self._write(FRAME_HEAD.pack(METHOD, channel, len(_BARRIER)) + _BARRIER + FRAME_END)

    # --- consumers and confirms

    def add_consumer(self, channel: int, tag: str, callback: OnMessage) -> None:
        """Pass the deliveries of the consumer *tag* to *callback*."""
        self._consumers[channel, tag] = callback

    def discard_consumer(self, channel: int, tag: str) -> None:
        """Drop further deliveries for the consumer *tag*."""
        self._consumers.pop((channel, tag), None)

    def set_confirms(self, channel: int, callback: OnConfirm) -> None:
        """Pass the confirms on *channel* to *callback*."""
        self._confirms[channel] = callback

    def discard_channel(self, channel: int) -> None:
        """Drop all state of *channel*, which has ended."""
        by_channels = self._incoming, self._missing, self._parts, self.delivered
        for by_channel in (*by_channels, self._confirms, self._barriers):
            by_channel.pop(channel, None)
        for key in [key for key in self._consumers if key[0] == channel]:
            del self._consumers[key]

    # --- in

    def feed(self, data: bytes) -> None:
        """Handle the whole frames in *data*; raise an error of pika for a malformed stream."""
        self._transport.bytes_received += len(data)
        if self._rest:
            data = self._rest + data
        self._now = time.monotonic()
        at, end = 0, len(data)
        while end - at >= FRAME_OVERHEAD:
            frame_type, channel, size = FRAME_HEAD.unpack_from(data, at)
            if size > SMALL or frame_type not in FRAME_TYPES:
                self._check(frame_type, size)
            after = at + size + FRAME_OVERHEAD
            if after > end:
                break
            if data[after - 1] != FRAME_END_BYTE:
                raise pika.exceptions.InvalidFrameError("a frame does not end in CE")
            if frame_type != METHOD and channel in self._incoming:
                if frame_type == BODY:
                    self._on_body(channel, data[at + 7 : after - 1])
                else:
                    self._on_header(channel, data, at, after)
            elif frame_type != METHOD or not self._on_method(channel, data, at, after):
                self._transport.handle_frame(pika.frame.decode_frame(data[at:after])[1])
            at = after
        self._rest = data[at:]

    def _check(self, frame_type: int, size: int) -> None:
        if frame_type not in FRAME_TYPES:
            raise pika.exceptions.InvalidFrameError(f"unknown frame type {frame_type}")
        if size > self._frame_max:
            raise pika.exceptions.InvalidFrameError(
                f"a frame of {size} bytes is over the limit agreed"
            )

    def _on_method(self, channel: int, data: bytes, at: int, after: int) -> bool:
        """Handle a delivery, a confirm or the answer to a barrier; return False for any other."""
        method = data[at + 7 : at + 11]
        if method == DELIVER:
            self._incoming[channel] = decode_deliver(data, at + 11, after - 1, self._now)
            if channel in self._missing:
                raise pika.exceptions.InvalidFrameError("a body is not complete")
            return True
        if method in _CONFIRMS and channel in self._confirms:
            tag, bits = _TAG_AND_BITS.unpack_from(data, at + 11)
            self._confirms[channel](tag, bits & 1 == 1, method == NACK)
            return True
        if method == _QOS_OK and channel in self._barriers:
            self._barriers.pop(channel)()
            return True
        return False

    def _on_header(self, channel: int, data: bytes, at: int, after: int) -> None:
        if after - at < LEAST_HEADER + FRAME_OVERHEAD:
            raise pika.exceptions.InvalidFrameError("a header frame is cut short")
        self._incoming[channel].header = data[at + 19 : after - 1]
        size = int.from_bytes(data[at + 11 : at + 19], "big")
        if size:
            self._missing[channel] = size
        else:
            self._complete(channel, b"")

    def _on_body(self, channel: int, part: bytes) -> None:
        missing = self._missing.pop(channel, 0) - len(part)
        if missing < 0:
            raise pika.exceptions.BodyTooLongError(len(part), len(part) + missing)
        if missing:
            self._missing[channel] = missing
            self._parts.setdefault(channel, []).append(part)
        else:
            parts = self._parts.pop(channel, None)
            self._complete(channel, b"".join((*parts, part)) if parts else part)

    def _complete(self, channel: int, body: bytes) -> None:
        delivery = self._incoming.pop(channel)
        delivery.body = body
        self.delivered[channel] = delivery.delivery_tag
        callback = self._consumers.get((channel, delivery.consumer_tag))
        if callback is None:
            # Sent before the broker saw our cancel; the broker requeues it, as it gets no ack.
            logger.debug("%r came for a consumer that has ended, and was dropped.", delivery)
        else:
            callback(delivery)


def not_called(*_arguments: Any) -> None:
    """Fail if pika calls it with a delivery or confirm, which the codec should have handled."""
    raise AssertionError("pika decoded a frame that belongs to the codec")


# --- frames of messages


def ack_frame(channel: int, tag: int, *, multiple: bool = False) -> bytes:
    """Return the frame of basic.ack."""
    return _ACK_FRAME.pack(METHOD, channel, 13, ACK, tag, multiple, FRAME_END)


@lru_cache(maxsize=1024)
def publish_frame(channel: int, exchange: str, key: str, mandatory: bool) -> bytes:  # noqa: FBT001 - cached by position
    """Return the frame of basic.publish; it is the same for every message to (exchange, key)."""
    texts = short_string(exchange) + short_string(key)
    payload = b"".join((PUBLISH, b"\x00\x00", texts, bytes((mandatory,))))
    return FRAME_HEAD.pack(METHOD, channel, len(payload)) + payload + FRAME_END


def content_frames(channel: int, properties: bytes, body: bytes, frame_max: int) -> bytes:
    """Return the header frame and the body frames of one message, as one piece."""
    size = len(body)
    head = CONTENT_HEAD.pack(HEADER, channel, 12 + len(properties), BASIC, 0, size)
    room = frame_max - FRAME_OVERHEAD
    if 0 < size <= room:
        body_head = FRAME_HEAD.pack(BODY, channel, size)
        return b"".join((head, properties, FRAME_END, body_head, body, FRAME_END))
    return b"".join((head, properties, FRAME_END, *_body_frames(channel, body, room)))


def _body_frames(channel: int, body: bytes, room: int) -> Iterator[bytes]:
    for at in range(0, len(body), room):
        part = body[at : at + room]
        yield FRAME_HEAD.pack(BODY, channel, len(part))
        yield part
        yield FRAME_END


def decode_deliver(data: bytes, at: int, end: int, now: float) -> Delivery:
    """Return a delivery from the arguments ``data[at:end]`` of basic.deliver, without content."""
    tag_end = at + 1 + data[at]
    delivery_tag, redelivered = _TAG_AND_BITS.unpack_from(data, tag_end)
    exchange, key = _address(data[tag_end + 9 : end])
    consumer_tag = _text(data[at + 1 : tag_end])
    return Delivery(consumer_tag, delivery_tag, redelivered != 0, exchange, key, now)


@lru_cache(maxsize=1024)
def _text(data: bytes) -> str:
    """Return a consumer tag; few of them occur in many messages."""
    return data.decode("utf-8", "surrogateescape")


@lru_cache(maxsize=1024)
def _address(data: bytes) -> tuple[str, str]:
    """Return exchange and key; few of them occur in many messages."""
    exchange, at = short_string_at(data, 0)
    return exchange, short_string_at(data, at)[0]
