"""Frames out of a stream of bytes (AMQP 0-9-1, 4.2.3)."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator

from postage.broker.wire.exceptions import SyntaxFault

__all__ = ["BODY", "HEADER", "HEARTBEAT", "METHOD", "PROTOCOL", "Parser"]

METHOD, HEADER, BODY, HEARTBEAT = 1, 2, 3, 8
PROTOCOL = b"AMQP\x00\x00\x09\x01"

_FRAME = struct.Struct(">BHI")
OVERHEAD = 8

Frame = tuple[int, int, bytes]
"""Type, channel, payload."""
Skip = Callable[[bytes, int], int]
"""Takes some data and a place in it; returns up to where somebody else has dealt with it."""


class Parser:
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
