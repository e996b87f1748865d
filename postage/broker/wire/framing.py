"""The frames of a message that goes out (AMQP 0-9-1, 4.2.6)."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator

from postage.broker.wire.exceptions import SyntaxFault

__all__ = [
    "BODY",
    "END",
    "HEADER",
    "HEARTBEAT",
    "METHOD",
    "PROTOCOL",
    "FrameParser",
    "message_frames",
    "method_start",
]

END = b"\xce"
OVERHEAD = 8
"""Bytes of a frame around its payload: type, channel, size, end."""

_FRAME = struct.Struct(">BHI")
# Both begin with the end of the frame before.
_HEADER = struct.Struct(">BBHIHHQ")
_BODY = struct.Struct(">BBHI")


def method_start(channel: int, size: int) -> bytes:
    """Return the start of the method frame whose payload has *size* bytes."""
    return _FRAME.pack(1, channel, size)


def message_frames(
    channel: int, method: tuple[bytes, ...], header: bytes, body: bytes, frame_max: int
) -> bytes:
    """Return the frames of a message as one piece.

    *method*: the parts of the frame of its method, but for the end; *header*: from the flags on.
    """
    size = len(body)
    start = _HEADER.pack(0xCE, 2, channel, 12 + len(header), 60, 0, size)
    if 0 < size <= frame_max - OVERHEAD:
        return b"".join((*method, start, header, _BODY.pack(0xCE, 3, channel, size), body, END))
    parts = [*method, start, header]
    room = frame_max - OVERHEAD
    for at in range(0, size, room):
        part = body[at : at + room]
        parts += (_BODY.pack(0xCE, 3, channel, len(part)), part)
    return b"".join((*parts, END))


METHOD, HEADER, BODY, HEARTBEAT = 1, 2, 3, 8
PROTOCOL = b"AMQP\x00\x00\x09\x01"

Frame = tuple[int, int, bytes]
"""Type, channel, payload."""
Skip = Callable[[bytes, int], int]
"""Takes some data and a place in it; returns up to where somebody else has dealt with it."""


class FrameParser:
    """Takes bytes as they come, cut anywhere, and yields whole frames."""

    def __init__(self, frame_max: int) -> None:
        self.frame_max = frame_max
        self._rest = b""

    def feed(self, data: bytes, skip: Skip = lambda _, at: at) -> Iterator[Frame]:
        """Yield the frames that are complete with *data*; raise `SyntaxFault` at a bad one.

        *skip* may leave some out, before each that is yielded.
        """
        data = self._rest + data if self._rest else data
        at, end = skip(data, 0), len(data)
        self._rest = b""
        while end - at >= OVERHEAD:
            kind, channel, size = _FRAME.unpack_from(data, at)
            if kind not in (METHOD, HEADER, BODY, HEARTBEAT):
                raise SyntaxFault(f"unknown frame type {kind}")
            if size > self.frame_max:  # nor does RabbitMQ count the overhead
                raise SyntaxFault(f"a frame of {size} bytes is over the limit agreed")
            after = at + OVERHEAD + size
            if after > end:
                break
            if data[after - 1] != 0xCE:  # noqa: PLR2004 - the frame end
                raise SyntaxFault("a frame does not end in CE")
            yield kind, channel, data[at + 7 : after - 1]
            at = skip(data, after)
        self._rest = data[at:]
