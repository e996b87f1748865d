"""Publishes whose content has not arrived completely: a method, a header, bodies (AMQP, 4.2.6)."""

from __future__ import annotations

import struct
from collections.abc import Callable

from postage.broker.core.limits import Limits
from postage.broker.wire.exceptions import ChannelFault, ConnectionFault, Fault, SyntaxFault
from postage.broker.wire.methods import MethodCall
from postage.protocol import BASIC, BODY, HEADER

__all__ = ["ContentAssembler", "PartialContent"]

_HEADER = struct.Struct(">HHQH")
"""Class, weight, size of the body, property flags."""
_FLAGS = 2
"""Bytes of the flags, which every header has."""


class PartialContent:
    """A basic.publish and the part of its content that has arrived."""

    def __init__(self, call: MethodCall) -> None:
        self.call = call
        self.header: bytes | None = None
        """The header from its flags on; None before its frame has arrived."""
        self.missing = 0
        """Bytes of the body that have not arrived."""
        self._body: bytes | bytearray = b""

    @property
    def size(self) -> int:
        """Bytes of properties and body that have arrived."""
        properties = len(self.header) - _FLAGS if self.header is not None else 0
        return properties + len(self._body)

    @property
    def body(self) -> bytes:
        """The body as far as it has arrived."""
        return bytes(self._body)

    def add(self, frame_type: int, payload: bytes, largest: int) -> None:
        """Add a header or body frame; raises `Fault`."""
        if self.header is None:
            self._add_header(frame_type, payload, largest)
        elif frame_type != BODY:
            self.refuse()
        elif len(payload) > self.missing:
            raise ConnectionFault(501, "more content than the header announced")
        elif payload:
            # One buffer: as a list of parts, parts of one byte would take 42 bytes each.
            if not self._body:
                self._body = payload
            elif isinstance(self._body, bytearray):
                self._body += payload
            else:
                self._body = bytearray().join((self._body, payload))
            self.missing -= len(payload)

    def _add_header(self, frame_type: int, payload: bytes, largest: int) -> None:
        if frame_type != HEADER:
            self.refuse()
        if len(payload) < _HEADER.size:
            raise SyntaxFault("a content header ends before its flags")
        class_id, weight, size, flags = _HEADER.unpack_from(payload)
        if weight:
            self.refuse()
        if class_id != BASIC:
            self.refuse(f"got one for class {class_id}")
        if flags & 1:
            raise SyntaxFault("a content header with more flags than there are properties")
        if size > largest:
            raise ChannelFault(
                406, f"message size {size} is larger than configured max size {largest}"
            )
        self.header, self.missing = payload[12:], size

    def refuse(self, found: str = "") -> None:
        """Raise the error for a frame that cannot follow here."""
        if self.header is None:
            found = found or "got non content header frame"
            text = f"expected content header for class 60, {found} instead"
        else:
            text = "expected content body, got non content body frame instead"
        raise ConnectionFault(505, text)


class ContentAssembler(dict[int, PartialContent]):
    """The incomplete publishes of one connection by channel.

    Their properties and bodies are charged to *account* until they are complete.  All together may
    have four times the size of the largest message.
    """

    MOST_MESSAGES = 4

    def __init__(self, limits: Limits, account: Callable[[int], None]) -> None:
        super().__init__()
        self._largest, self._account = limits.message_max, account
        self.charged = 0
        """Bytes of all contents that have been charged."""

    def start(self, channel: int, call: MethodCall) -> None:
        """Start with the basic.publish *call*."""
        self[channel] = PartialContent(call)

    def add(self, channel: int, frame_type: int, payload: bytes) -> PartialContent | None:
        """Add a header or body frame; return the publish if this completes it."""
        content = self.get(channel)
        if content is None:
            raise ConnectionFault(505, "expected method frame, got non method frame instead")
        before = content.size
        try:
            content.add(frame_type, payload, self._largest)
        except Fault as exc:
            exc.method = content.call.method.ids
            raise
        if content.missing:
            self._charge(content.size - before)
            return None
        del self[channel]
        self._charge(-before)  # the last part has not been charged
        return content

    def _charge(self, change: int) -> None:
        if not change:
            return
        self.charged += change
        self._account(change)
        if change > 0 and self.charged > self.MOST_MESSAGES * self._largest:
            raise ConnectionFault(506, "too much content of unfinished messages")

    def refuse_method(self, channel: int) -> None:
        """Raise the error for a method before the publish on *channel* is complete."""
        content = self[channel]
        try:
            content.refuse()
        except Fault as exc:
            exc.method = content.call.method.ids
            raise

    def discard(self, channel: int) -> None:
        """Discard the incomplete publish on *channel*, if any."""
        content = self.pop(channel, None)
        if content is not None:
            self._charge(-content.size)
