"""Messages in the making: a method, its header, its bodies (AMQP 0-9-1, 4.2.6)."""

from __future__ import annotations

import struct
from collections.abc import Callable

from postage.broker.core.limits import Limits
from postage.broker.wire import framing
from postage.broker.wire.exceptions import ChannelFault, ConnectionFault, Fault, SyntaxFault
from postage.broker.wire.methods import MethodCall

__all__ = ["ContentAssembler", "PartialContent"]

BASIC = 60
_HEADER = struct.Struct(">HHQH")
"""Class, weight, size of the body, property flags."""


class PartialContent:
    """A basic.publish and as much of its content as has come."""

    def __init__(self, call: MethodCall) -> None:
        self.call = call
        self.header: bytes | None = None
        self.missing = 0
        self._parts: list[bytes] = []

    @property
    def held(self) -> int:
        """The bytes of its body so far."""
        return sum(map(len, self._parts))

    @property
    def body(self) -> bytes:
        """Its body so far."""
        return self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)

    def add(self, kind: int, payload: bytes, largest: int) -> None:
        """Take a header or body frame; raises `Fault`."""
        if self.header is None:
            self._take_header(kind, payload, largest)
        elif kind != framing.BODY:
            self.refuse()
        elif len(payload) > self.missing:
            raise ConnectionFault(501, "more content than the header announced")
        elif payload:
            self._parts.append(payload)
            self.missing -= len(payload)

    def _take_header(self, kind: int, payload: bytes, largest: int) -> None:
        if kind != framing.HEADER:
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
        """Raise the error for what comes while this waits for its next frame."""
        if self.header is None:
            found = found or "got non content header frame"
            text = f"expected content header for class 60, {found} instead"
        else:
            text = "expected content body, got non content body frame instead"
        raise ConnectionFault(505, text)


class ContentAssembler:
    """The messages in the making of one connection, one for each channel at most.

    Until they are whole they are charged to *account*, and one connection must not begin ever more
    of them: several times the largest message is what it may leave unfinished.
    """

    TIMES = 4

    def __init__(self, limits: Limits, account: Callable[[int], None]) -> None:
        self._largest, self._account = limits.message_max, account
        self._contents: dict[int, PartialContent] = {}
        self._held = 0

    def __bool__(self) -> bool:
        return bool(self._contents)

    def __contains__(self, channel: int) -> bool:
        return channel in self._contents

    def begin(self, channel: int, call: MethodCall) -> None:
        """Begin with a basic.publish."""
        self._contents[channel] = PartialContent(call)

    def add(self, channel: int, kind: int, payload: bytes) -> PartialContent | None:
        """Take a header or body frame; return the message if that makes it whole."""
        content = self._contents.get(channel)
        if content is None:
            raise ConnectionFault(505, "expected method frame, got non method frame instead")
        try:
            content.add(kind, payload, self._largest)
        except Fault as exc:
            exc.method = content.call.method.ids
            raise
        if content.missing:
            self._hold(len(payload) if kind == framing.BODY else 0)
            return None
        del self._contents[channel]
        if self._held:
            self._let_go(content, payload if kind == framing.BODY else b"")
        return content

    def _let_go(self, content: PartialContent, last: bytes) -> None:
        """What is whole is counted here no more; its *last* part never was."""
        self._hold(len(last) - content.held)

    def _hold(self, change: int) -> None:
        if not change:
            return
        self._held += change
        self._account(change)
        if self._held > self.TIMES * self._largest:
            raise ConnectionFault(506, "too much content of unfinished messages")

    def refuse_method(self, channel: int) -> None:
        """Raise where a method comes in the midst of a message."""
        content = self._contents[channel]
        try:
            content.refuse()
        except Fault as exc:
            exc.method = content.call.method.ids
            raise

    def forget(self, channel: int) -> None:
        """Throw away what has come on *channel*."""
        content = self._contents.pop(channel, None)
        if content is not None:
            self._hold(-content.held)
