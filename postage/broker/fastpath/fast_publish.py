"""The short way for what comes most: whole publishes and single acks, each in one step.

What they do is said elsewhere: `ContentAssembler`, `Publisher.publish` and `ClientChannel.handle`
take every frame there is.  Here are only those at which nothing can be wrong and nothing is
special; at the first other one, and at any doubt, this stops and changes nothing.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from postage.broker.fastpath.header_scan import HeaderScan
from postage.broker.session.assembly import ContentAssembler
from postage.broker.session.client_channel import ClientChannel

if TYPE_CHECKING:
    from postage.broker.session.client_connection import ClientConnection

__all__ = ["Express"]

_START = struct.Struct(">BHII")
"""Of a method frame: type, channel, size, and the method's ids."""
_ACK_END = struct.Struct(">QBB")
_HEADER = struct.Struct(">BHIIQ")
"""Of a header frame: type, channel, size, class and weight, size of the body."""
_FRAME = struct.Struct(">BHI")
_PUBLISH, _ACK = 60 << 16 | 40, 60 << 16 | 80
_BASIC = 60 << 16
LEAST = 21
"""Bytes of an ack, which is shorter than any publish."""


class Express:
    """The short way through *connection*, as long as none of its *contents* is in the making."""

    enabled = True
    """False sends every frame the long way, for comparison."""

    def __init__(self, connection: ClientConnection, contents: ContentAssembler) -> None:
        self._connection, self._contents = connection, contents
        self._largest = 0

    def skip(self, data: bytes, at: int) -> int:
        """Deal with *data* from *at* on; return where that has ended."""
        channels, end = self._connection.channels, len(data)
        if not (channels and self._applies()):
            return at
        while end - at >= LEAST:
            kind, number, size, method = _START.unpack_from(data, at)
            channel = channels.get(number)
            if kind != 1 or channel is None or channel.closing or channel.transaction is not None:
                break
            if method == _PUBLISH:
                after = self._publish(channel, data, at, at + 8 + size)
            elif method == _ACK and size == LEAST - 8:
                after = _ack(channel, data, at)
            else:
                break
            if not after:
                break
            at = after
        return at

    def _applies(self) -> bool:
        """Whether the connection is in no special state, into which no express can bring it."""
        connection = self._connection
        self._largest = min(connection.frame_max, connection.node.limits.message_max)
        special = (
            self._contents or connection.interceptor is not None or connection.vhost.duplicates
        )
        return self.enabled and not special

    def _publish(self, channel: ClientChannel, data: bytes, at: int, header_at: int) -> int:
        """Carry out the publish at *at* if all of it is there; return where it ends, else 0."""
        try:
            kind, number, size, class_id, length = _HEADER.unpack_from(data, header_at)
            body_at = header_at + 8 + size
            body_kind, body_number, body_size = _FRAME.unpack_from(data, body_at)
            after: int = body_at + 8 + length
            ends = data[body_at - 1] == data[after - 1] == 0xCE  # noqa: PLR2004 - the frame end
        except (struct.error, IndexError):
            return 0
        if not (
            (kind == 2 and body_kind == 3 and class_id == _BASIC and ends)  # noqa: PLR2004
            and number == body_number == channel.number
            and 0 < length == body_size
            and after - at <= self._largest
        ):
            return 0
        route = channel.vhost.routes[data[at + 7 : header_at]]
        header, ttl = _glances[data[header_at + 19 : body_at - 1]]
        connection = self._connection
        if not (route.queues and header and connection.publishes):  # the first may meet an alarm
            return 0
        connection.publishes += 1
        channel.publisher.put(route, header, data[body_at + 7 : after - 1], ttl)
        return after


def _ack(channel: ClientChannel, data: bytes, at: int) -> int:
    """Carry out the ack at *at* if it is of one delivery; return where it ends, else 0."""
    tag, bits, end = _ACK_END.unpack_from(data, at + 11)
    if bits & 1 or end != 0xCE or not channel.acknowledge(tag):  # noqa: PLR2004 - the frame end
        return 0
    return at + LEAST


_glances = HeaderScan()
