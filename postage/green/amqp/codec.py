"""What is done per message: publish, deliver, confirm, ack.  Twice, behind one interface.

`PlainPath` takes pika's own way for everything; `Codec` packs and unpacks the frames of a message
itself (`frames`), at a tenth of the cost, and hands every other frame to pika.
``POSTAGE_PLAIN_PIKA=1`` selects the first; the whole test suite runs on both.
"""

from __future__ import annotations

import logging
import struct
from collections.abc import Callable
from typing import Any, Protocol

import pika.channel
import pika.exceptions
import pika.frame
import pika.spec

from postage.green.amqp import frames
from postage.green.amqp.frames import Confirm, Deliver, Properties
from postage.green.amqp.transport import Transport

__all__ = ["Codec", "OnConfirm", "OnMessage", "Path", "PlainPath", "from_pika"]

logger = logging.getLogger(__name__)

OnMessage = Callable[[Deliver, Properties, bytes], None]
OnConfirm = Callable[[Confirm], None]

FRAME_MAX = 131072
"""The largest frame before the broker has said its own limit; RabbitMQ's default."""
LEAST_MAX = 4096
"""Frames up to this size every broker takes (frame-min-size)."""
SMALL = LEAST_MAX - frames.OVERHEAD

_FRAME = struct.Struct(">BHI")
_HEAD = struct.Struct(">BHIHHQ")  # a header frame up to the properties
_KINDS = frozenset((frames.METHOD, frames.HEADER, frames.BODY, 8))
_METHOD = struct.Struct(">I")
_SIZE = struct.Struct(">Q")
_DELIVER = frames.DELIVER.to_bytes(4, "big")


class Path(Protocol):
    """How messages go over a transport.  The callbacks run in the hub."""

    def publish(  # noqa: PLR0913 - the arguments of basic.publish
        self,
        channel: pika.channel.Channel,
        exchange: str,
        key: str,
        properties: Properties,
        body: bytes,
        *,
        mandatory: bool,
    ) -> None:
        """Write a basic.publish with its content; never switches."""

    def ack(self, channel: pika.channel.Channel, tag: int, *, multiple: bool) -> None:
        """Write a basic.ack."""

    def reject(self, channel: pika.channel.Channel, tag: int, *, requeue: bool) -> None:
        """Write a basic.reject."""

    def on_messages(self, channel: pika.channel.Channel, tag: str, callback: OnMessage) -> Any:
        """Return what to give pika as the callback of the consumer *tag*."""

    def on_confirms(
        self, channel: pika.channel.Channel, callback: OnConfirm
    ) -> Callable[[Any], None]:
        """Return what to give pika as the callback for confirms."""

    def forget(self, channel: pika.channel.Channel, tag: str | None = None) -> None:
        """The consumer *tag*, or the whole channel, has ended; nothing more comes on it."""


def from_pika(properties: pika.spec.BasicProperties) -> Properties:
    """Return pika's properties as ours."""
    return Properties(**{name: getattr(properties, name) for name in Properties.NAMES})


class PlainPath:
    """Everything through pika's public methods."""

    def publish(  # noqa: PLR0913 - see Path
        self,
        channel: pika.channel.Channel,
        exchange: str,
        key: str,
        properties: Properties,
        body: bytes,
        *,
        mandatory: bool,
    ) -> None:
        basic = pika.spec.BasicProperties(**properties.as_dict())
        try:
            channel.basic_publish(exchange, key, body, basic, mandatory)
        except pika.exceptions.ShortStringTooLong as exc:
            raise frames.too_long(exc.args[0].decode("utf-8", "surrogateescape")) from None

    def ack(self, channel: pika.channel.Channel, tag: int, *, multiple: bool) -> None:
        channel.basic_ack(tag, multiple)

    def reject(self, channel: pika.channel.Channel, tag: int, *, requeue: bool) -> None:
        channel.basic_reject(tag, requeue)

    def on_messages(self, channel: pika.channel.Channel, tag: str, callback: OnMessage) -> Any:  # noqa: ARG002
        def on_message(_channel: Any, method: Any, properties: Any, body: bytes) -> None:
            deliver = Deliver(
                method.consumer_tag,
                method.delivery_tag,
                method.redelivered,
                method.exchange,
                method.routing_key,
            )
            callback(deliver, from_pika(properties), body)

        return on_message

    def on_confirms(
        self,
        channel: pika.channel.Channel,  # noqa: ARG002
        callback: OnConfirm,
    ) -> Callable[[Any], None]:
        def on_frame(frame: Any) -> None:
            method = frame.method
            callback(
                Confirm(
                    method.delivery_tag, method.multiple, isinstance(method, pika.spec.Basic.Nack)
                )
            )

        return on_frame

    def forget(self, channel: pika.channel.Channel, tag: str | None = None) -> None:
        """Nothing to do: pika forgets by itself."""


class _Partial:
    """A delivery of which not all frames have come yet."""

    __slots__ = ("deliver", "missing", "parts", "properties")

    def __init__(self, deliver: Deliver) -> None:
        self.deliver = deliver
        self.properties: Properties | None = None
        self.missing = 0
        self.parts: list[bytes] = []


class Codec:
    """Packs publishes and acks, unpacks deliveries and confirms; everything else is pika's."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._emit = transport._adapter_emit_data  # noqa: SLF001 - see transport
        self._rest = b""
        self._partial: dict[int, _Partial] = {}
        self._consumers: dict[tuple[int, str], OnMessage] = {}
        self._confirms: dict[int, OnConfirm] = {}
        transport.feed = self.feed

    # --- out

    def publish(  # noqa: PLR0913 - see Path
        self,
        channel: pika.channel.Channel,
        exchange: str,
        key: str,
        properties: Properties,
        body: bytes,
        *,
        mandatory: bool,
    ) -> None:
        number = channel.channel_number
        method = frames.publish_method(number, exchange, key, mandatory)
        frame_max = LEAST_MAX if len(body) < SMALL else self._frame_max
        self._emit(method + frames.content_frames(number, properties.encode(), body, frame_max))

    @property
    def _frame_max(self) -> int:
        return self._transport.params.frame_max or FRAME_MAX

    def ack(self, channel: pika.channel.Channel, tag: int, *, multiple: bool) -> None:
        self._emit(frames.encode_ack(channel.channel_number, tag, multiple=multiple))

    def reject(self, channel: pika.channel.Channel, tag: int, *, requeue: bool) -> None:
        self._emit(frames.encode_reject(channel.channel_number, tag, requeue=requeue))

    # --- whom to call

    def on_messages(self, channel: pika.channel.Channel, tag: str, callback: OnMessage) -> Any:
        self._consumers[channel.channel_number, tag] = callback
        return _never_called

    def on_confirms(
        self, channel: pika.channel.Channel, callback: OnConfirm
    ) -> Callable[[Any], None]:
        self._confirms[channel.channel_number] = callback
        return _never_called

    def forget(self, channel: pika.channel.Channel, tag: str | None = None) -> None:
        number = channel.channel_number
        if tag is not None:
            self._consumers.pop((number, tag), None)
            return
        self._confirms.pop(number, None)
        self._partial.pop(number, None)
        for key in [key for key in self._consumers if key[0] == number]:
            del self._consumers[key]

    # --- in

    def feed(self, data: bytes) -> None:
        """Take what was read: whole frames are handled, the rest is kept for the next call."""
        self._transport.bytes_received += len(data)
        if self._rest:
            data = self._rest + data
        at, end = 0, len(data)
        while end - at >= frames.OVERHEAD:
            kind, channel, size = _FRAME.unpack_from(data, at)
            if size > SMALL or kind not in _KINDS:
                self._check(kind, size)
            after = at + size + frames.OVERHEAD
            if after > end:
                break
            if data[after - 1] != 0xCE:  # noqa: PLR2004 - the end of a frame (4.2.3)
                raise pika.exceptions.InvalidFrameError("a frame does not end in CE")
            whole = kind == frames.METHOD and self._whole(channel, data, at, after)
            if not whole:
                self._frame(kind, channel, data, at, after)
            at = whole or after
        self._rest = data[at:]

    def _whole(self, channel: int, data: bytes, at: int, after: int) -> int:
        """Handle a delivery whose three frames are all there; return where it ends, else 0.

        The ordinary case, in one step: the frames one by one cost half as much again.
        """
        if data[at + 7 : at + 11] != _DELIVER or len(data) < after + _HEAD.size:
            return 0
        kind, number, size, _, _, length = _HEAD.unpack_from(data, after)
        body_at = after + size + frames.OVERHEAD
        end: int = body_at + length + frames.OVERHEAD
        if kind != frames.HEADER or number != channel or end > len(data):
            return 0
        if data[body_at - 1] != 0xCE or data[end - 1] != 0xCE:  # noqa: PLR2004 - the end of a frame
            return 0
        if _FRAME.unpack_from(data, body_at) != (frames.BODY, channel, length):
            return 0
        deliver = frames.decode_deliver(data, at + 7, after - 1)
        properties = Properties.decode(data[after + 19 : body_at - 1])
        self._hand_over(channel, deliver, properties, data[body_at + 7 : end - 1])
        return end

    def _check(self, kind: int, size: int) -> None:
        if kind not in _KINDS:
            raise pika.exceptions.InvalidFrameError(f"unknown frame type {kind}")
        if size > self._frame_max:
            raise pika.exceptions.InvalidFrameError(
                f"a frame of {size} bytes is over the limit agreed"
            )

    def _frame(self, kind: int, channel: int, data: bytes, at: int, after: int) -> None:
        """Handle the frame in ``data[at:after]``."""
        if kind == frames.METHOD:
            if self._method(channel, data, at + 7, after):
                return
        elif channel in self._partial:
            if kind == frames.BODY:
                self._body(channel, data[at + 7 : after - 1])
            else:
                self._header(channel, data, at + 7, after)
            return
        _, frame = pika.frame.decode_frame(data[at:after])
        self._transport._process_frame(frame)  # noqa: SLF001 - see transport

    def _method(self, channel: int, data: bytes, at: int, after: int) -> bool:
        """Handle a method if it is one of the hot ones; say whether it was."""
        (method,) = _METHOD.unpack_from(data, at)
        if method == frames.DELIVER:
            self._partial[channel] = _Partial(frames.decode_deliver(data, at, after - 1))
            return True
        if method in (frames.ACK, frames.NACK) and channel in self._confirms:
            self._confirms[channel](frames.decode_confirm(data, at))
            return True
        return False

    def _header(self, channel: int, data: bytes, at: int, after: int) -> None:
        partial = self._partial[channel]
        (partial.missing,) = _SIZE.unpack_from(data, at + 4)
        partial.properties = Properties.decode(data[at + 12 : after - 1])
        if not partial.missing:
            self._complete(channel, partial)

    def _body(self, channel: int, part: bytes) -> None:
        partial = self._partial[channel]
        partial.parts.append(part)
        partial.missing -= len(part)
        if partial.missing < 0:
            raise pika.exceptions.BodyTooLongError(len(part), len(part) + partial.missing)
        if not partial.missing:
            self._complete(channel, partial)

    def _complete(self, channel: int, partial: _Partial) -> None:
        del self._partial[channel]
        parts = partial.parts
        body = parts[0] if len(parts) == 1 else b"".join(parts)
        self._hand_over(channel, partial.deliver, partial.properties or Properties(), body)

    def _hand_over(
        self, channel: int, deliver: Deliver, properties: Properties, body: bytes
    ) -> None:
        callback = self._consumers.get((channel, deliver.consumer_tag))
        if callback is None:
            # Sent before the broker saw our close: unacked, it goes back to its queue.
            logger.debug("A delivery for the ended consumer %r was passed over.", deliver)
        else:
            callback(deliver, properties, body)


def _never_called(*_arguments: Any) -> None:
    """Pika's callback for what the hot path takes out of pika's sight."""
    raise AssertionError("a message took pika's path while the hot path is on")
