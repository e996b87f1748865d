"""Frames: cut out of the stream of a client, and put together for it (AMQP 0-9-1, 4.2.3 and 4.2.6).

How whole publishes are read
----------------------------
A small publish is three frames in a row on one channel: the method, the header, and one body frame.
Handling each frame by itself costs more than everything else that the broker does for the message,
so `FrameParser` recognises the three together, and yields them as one frame of the type
`WHOLE_PUBLISH`.  It looks for them in this order:

1. Does the data start with the bytes of the last whole publish, up to its body?  Many clients send
   messages that differ in their body only.  Then nothing of the start is decoded again.
2. Otherwise: are all three frames here, on one channel, with one body frame that fits the header?
3. In any other case the frame is yielded by itself, as are all frames of large publishes.

This is only a shorter way of reading: nothing is decided here.  A malformed publish is also yielded
frame by frame, because only the code for single frames reports mistakes.  Code that cannot use a
whole publish, for instance on a channel that is closing, handles its `single_frames`.  A property
test holds both ways equal (``tests/broker/test_whole_publish.py``).
"""

from __future__ import annotations

import struct
from collections.abc import Generator
from typing import Any

from postage.broker.wire.content import UNIQUE, shortened
from postage.broker.wire.exceptions import SyntaxFault
from postage.protocol import (
    BASIC,
    BODY,
    FRAME_END,
    FRAME_END_BYTE,
    FRAME_HEAD,
    FRAME_OVERHEAD,
    FRAME_TYPES,
    HEADER,
    METHOD,
    PUBLISH,
)

__all__ = [
    "PROTOCOL",
    "WHOLE_PUBLISH",
    "Frame",
    "FrameParser",
    "Publish",
    "message_frames",
    "method_start",
    "single_frames",
]

WHOLE_PUBLISH = 0
"""The type, in this program only, of a basic.publish with its content; see `Publish`."""
PROTOCOL = b"AMQP\x00\x00\x09\x01"
_HEADER_START = struct.Struct(">BHIIQ")
"""Of a header frame: type, channel, size, class and weight in one, size of the body."""
_BASIC = BASIC << 16
"""Class id and weight of the header of a message."""
_BEFORE_FLAGS = 12
"""Bytes of the payload of a header frame before the flags: class, weight, size of the body."""
_LEAST_HEADER = _BEFORE_FLAGS + 2
"""Bytes of the payload of a header frame without properties."""
LONGEST_REPEATED = 1024
"""Bytes of a header that is kept, because the next publish may have the same one."""


Frame = tuple[int, int, Any]
"""Type, channel and payload: bytes, or `Publish` for a `WHOLE_PUBLISH`."""
Publish = tuple[bytes, bytes, bytes]
"""The payload of the method frame, the header from its property flags on, and the body."""


def single_frames(channel: int, publish: Publish) -> tuple[Frame, Frame, Frame]:
    """Return the frames of a `WHOLE_PUBLISH`."""
    method, header, body = publish
    start = struct.pack(">IQ", _BASIC, len(body))
    return (METHOD, channel, method), (HEADER, channel, start + header), (BODY, channel, body)


class FrameParser:
    """Cuts a stream of bytes, which arrives in arbitrary pieces, into frames."""

    def __init__(self, frame_max: int) -> None:
        self.frame_max = frame_max
        self.rest = b""
        """What has arrived of a frame, or of several if the caller of `feed` has stopped."""
        self._last: tuple[bytes, bytes, bytes, int] | None = None
        """Of the last whole publish: all before the body, the method, the header, the body size."""

    def feed(self, data: bytes, *, single: bool = False) -> Generator[Frame, None, None]:
        """Yield the frames that *data* completes; raise `SyntaxFault` at a malformed frame.

        *single*: yield the frames of a whole publish one by one.  The caller may stop and close
        the generator; the next call yields the frames that are left.
        """
        data = self.rest + data if self.rest else data
        at, end = 0, len(data)
        self.rest = b""
        try:
            while end - at >= FRAME_OVERHEAD:
                type_, channel, size = FRAME_HEAD.unpack_from(data, at)
                after = at + FRAME_OVERHEAD + size
                if type_ == METHOD and not single and data.startswith(PUBLISH, at + 7):
                    found = self._publish_at(data, at, channel, after)
                    if found is not None:
                        publish, at = found
                        yield WHOLE_PUBLISH, channel, publish
                        continue
                if type_ not in FRAME_TYPES:
                    raise SyntaxFault(f"unknown frame type {type_}")
                if size > self.frame_max:  # like RabbitMQ, which does not count the overhead either
                    raise SyntaxFault(f"a frame of {size} bytes is over the limit agreed")
                if after > end:
                    break
                if data[after - 1] != FRAME_END_BYTE:
                    raise SyntaxFault("a frame does not end in CE")
                payload, at = data[at + 7 : after - 1], after
                yield type_, channel, payload
        finally:
            self.rest = data[at:]

    def _publish_at(
        self, data: bytes, at: int, channel: int, header_at: int
    ) -> tuple[Publish, int] | None:
        """Return the publish that starts at *at*, and where it ends; None if it is not whole."""
        if self._last is not None and data.startswith(self._last[0], at):
            # Many clients publish messages that differ in their body only.
            start, method, header, length = self._last
            body_at, after = at + len(start), at + len(start) + length + 1
            if data[after - 1 : after] == FRAME_END and after - at <= self.frame_max:
                return (method, header, data[body_at : after - 1]), after
        try:
            type_, number, size, class_and_weight, length = _HEADER_START.unpack_from(
                data, header_at
            )
            body_at = header_at + FRAME_OVERHEAD + size
            body_type, body_number, body_size = FRAME_HEAD.unpack_from(data, body_at)
            after = body_at + FRAME_OVERHEAD + length
            ends = data[header_at - 1] == data[body_at - 1] == data[after - 1] == FRAME_END_BYTE
        except (struct.error, IndexError):
            return None
        if not (
            ends
            and type_ == HEADER
            and body_type == BODY
            and number == body_number == channel
            and class_and_weight == _BASIC
            and size >= _LEAST_HEADER
            and not data[header_at + 20] & 1  # this bit announces more flags
            and 0 < length == body_size
            and after - at <= self.frame_max
        ):
            return None
        method, header = data[at + 7 : header_at - 1], data[header_at + 19 : body_at - 1]
        if len(header) <= LONGEST_REPEATED and not (header[0] << 8 | header[1]) & UNIQUE:
            self._last = data[at : body_at + 7], method, header, length
        return (method, header, data[body_at + 7 : after - 1]), after


# --- output

# Both structs start with the end byte of the frame before.
_HEADER = struct.Struct(">BBHIHHQ")
_BODY = struct.Struct(">BBHI")


def method_start(channel: int, size: int) -> bytes:
    """Return the start of the method frame whose payload has *size* bytes."""
    return FRAME_HEAD.pack(METHOD, channel, size)


def message_frames(
    channel: int, method: tuple[bytes, ...], header: bytes, body: bytes, frame_max: int
) -> bytes:
    """Return the frames of a message in one piece.

    *method* is the method frame in parts, without its end; *header* starts with the flags.  A
    header over *frame_max*, which would end the client's connection, is `shortened`.
    """
    size, room = len(body), frame_max - FRAME_OVERHEAD
    if len(header) > room - _BEFORE_FLAGS:
        header = shortened(header, room - _BEFORE_FLAGS)
    length = _BEFORE_FLAGS + len(header)
    start = _HEADER.pack(FRAME_END_BYTE, HEADER, channel, length, BASIC, 0, size)
    if 0 < size <= room:
        return b"".join(
            (
                *method,
                start,
                header,
                _BODY.pack(FRAME_END_BYTE, BODY, channel, size),
                body,
                FRAME_END,
            )
        )
    parts = [*method, start, header]
    for at in range(0, size, room):
        part = body[at : at + room]
        parts += (_BODY.pack(FRAME_END_BYTE, BODY, channel, len(part)), part)
    return b"".join((*parts, FRAME_END))
