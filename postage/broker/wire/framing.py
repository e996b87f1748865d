"""The frames of a message that goes out (AMQP 0-9-1, 4.2.6)."""

from __future__ import annotations

import struct

__all__ = ["END", "message_frames", "method_start"]

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
