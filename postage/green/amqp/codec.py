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
  Frames of different channels may be mixed.  If all three frames of a delivery are there, as is
  usual, they are handled at once, which saves a tenth of the work for a message.
  basic.return opens a message, too, which goes back to its publisher.  basic.ack and basic.nack are
  confirms of publishes.
* **Damage.**  As long as it is known where the next frame begins, an odd message concerns only its
  consumer, which gets an `UnreadableDelivery` to reject.  What follows of its content is ignored.
  Anything else ends the connection.

pika's channels never see those frames, so the callbacks for deliveries, returns and confirms are
registered here.  Nothing here switches greenlets; all callbacks run in the hub.
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

from postage.errors import ChannelRefused, MalformedMessage, SettingsError
from postage.green.amqp.delivery import (
    LEAST_HEADER,
    Delivery,
    Returned,
    UnfinishedMessage,
    UnreadableDelivery,
)
from postage.green.amqp.hub_logging import HubLogger
from postage.green.amqp.properties import Properties, short_string, short_string_at
from postage.green.amqp.transport import Transport
from postage.log_records import counted, place_of
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
    HEARTBEAT,
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
SMALL_HEADER = SMALL - 12
"""Bytes of properties, with their flags, that fit into such a payload (4.2.6.1)."""
LARGEST_BODY = 1 << 29
"""Bytes of the largest body for a consumer without a limit: the most that RabbitMQ can be set to
take (max_message_size)."""
LARGEST_FRAME = 1 << 24
"""Bytes of the largest frame that is waited for.  The size of a larger one cannot be true, so
nobody knows where the next frame begins, and the connection ends."""

_CONFIRMS = (ACK, NACK)
_REQUEUE = 2
"""The bits of a basic.nack of one delivery, which returns to its queue."""
_BARRIER = method_id(BASIC, 10) + bytes(7)
"""basic.qos with its default for all arguments: no limit for the consumers started later."""
_QOS_OK = method_id(BASIC, 11)
_RETURN = method_id(BASIC, 50)
_GOT = method_id(BASIC, 71), method_id(BASIC, 72)
_ACK_FRAME = struct.Struct(">BHI4sQBc")
_TAG_AND_BITS = struct.Struct(">QB")
_CONFIRM_SIZE = FRAME_OVERHEAD + 4 + _TAG_AND_BITS.size
_HEADER_START = struct.Struct(">BHI4xQ")
"""Of a header frame: type, channel, size, and the size of the body."""


class Codec:
    """Encodes and decodes the messages of one transport, whose input it takes over from pika."""

    def __init__(self, transport: Transport) -> None:
        self._transport, self._write = transport, transport.write
        self._rest = bytearray()  # of an incomplete frame; a list of small pieces would be larger
        self._lacking = 0  # the least number of bytes that it lacks
        self.look_at: float = math.inf
        """The `bytes_received` of the transport above which `on_look` is called."""
        self.on_look: Callable[[], None] = lambda: None
        self._now = 0.0  # when the bytes that `feed` handles arrived
        self._contents: dict[int, UnfinishedMessage] = {}  # by channel
        self._consumers: dict[tuple[int, bytes], tuple[str, OnMessage, int, bool]] = {}
        self._returns: dict[int, Callable[[Returned], None]] = {}
        self.on_got: dict[int, Callable[[bytes, float], UnfinishedMessage | None]] = {}
        """By channel, what takes an answer to basic.get: see `getting`."""
        self.dropped = 0
        """Messages that could not be handed over."""
        self.delivered: dict[int, int] = {}
        """The last delivery tag of each channel, which counts its deliveries."""
        self._confirms: dict[int, OnConfirm] = {}
        self._barriers: dict[int, Callable[[], None]] = {}
        self._strays: dict[int, Callable[[Delivery], None]] = {}
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
        properties: Properties | bytes,
        body: bytes,
        *,
        mandatory: bool,
    ) -> bytes:
        """Write a basic.publish with its content, and return its frames.

        *properties* may be encoded already.  Raises `SettingsError` for an overlong text, and
        `ChannelRefused` for a body that the broker would refuse, as far as `max_body` tells.
        """
        method = publish_frame(channel, exchange, key, mandatory)
        header = properties if isinstance(properties, bytes) else properties.encode()
        if len(header) > SMALL_HEADER:
            self._check_header(header)
        size = len(body)
        if 0 < size < SMALL:  # as `content_frames`, without a call for each message
            head = CONTENT_HEAD.pack(HEADER, channel, 12 + len(header), BASIC, 0, size)
            body_head = FRAME_HEAD.pack(BODY, channel, size)
            frames = b"".join((method, head, header, FRAME_END, body_head, body, FRAME_END))
        else:
            frames = method + content_frames(channel, header, body, self._frame_max_for(size))
        self._write(frames)
        return frames

    def _check_header(self, header: bytes) -> None:
        """Refuse properties that do not fit into a frame; the broker would end the connection."""
        size = len(header) + FRAME_MIN_SIZE - SMALL_HEADER
        if size > self.frame_max:
            raise SettingsError(
                f"its headers and other properties take a frame of {size} bytes, and this broker "
                f"takes {self.frame_max} (frame_max): send less in headers, more in the body"
            )

    def ack(self, channel: int, tag: int, *, multiple: bool) -> None:
        """Write a basic.ack."""
        self._write(ack_frame(channel, tag, multiple=multiple))

    def reject(self, channel: int, tag: int, *, requeue: bool) -> None:
        """Write a basic.reject."""
        self._write(_ACK_FRAME.pack(METHOD, channel, 13, REJECT, tag, requeue, FRAME_END))

    def give_back(self, channel: int, tag: int) -> None:
        """Return a delivery that no handler has begun to its queue: write a basic.nack.

        RabbitMQ 4.3 counts a basic.reject for its delivery limit, but no basic.nack (RabbitMQ's
        page on negative acknowledgements).
        """
        self._write(_ACK_FRAME.pack(METHOD, channel, 13, NACK, tag, _REQUEUE, FRAME_END))

    def _frame_max_for(self, size: int) -> int:
        if size > self.max_body:
            raise ChannelRefused(
                406, f"message size {size} is larger than configured max size {self.max_body}"
            )
        return self.frame_max

    @property
    def frame_max(self) -> int:
        """Bytes of the largest frame that the broker takes, with its beginning and its end."""
        return self._transport.params.frame_max or FRAME_MAX

    def send_barrier(self, channel: int, on_answer: Callable[[], None]) -> None:
        """Write a basic.qos that changes nothing; the broker answers in the order of the channel.

        pika would hold back all other methods of the channel until the answer.
        """
        self._barriers[channel] = on_answer
        self._write(FRAME_HEAD.pack(METHOD, channel, len(_BARRIER)) + _BARRIER + FRAME_END)

    # --- consumers and confirms

    def add_consumer(
        self,
        channel: int,
        tag: str,
        callback: OnMessage,
        max_body: int | None = None,
        *,
        no_ack: bool = False,
    ) -> None:
        """Pass the deliveries of the consumer *tag* to *callback*.

        A body over *max_body* bytes is not collected; None: as much as any broker takes.  Such a
        delivery, and one that arrives damaged, is an `UnreadableDelivery`.  With *no_ack* it is
        only logged, because it cannot be rejected.
        """
        limit = LARGEST_BODY if max_body is None else max_body
        self._consumers[channel, _bytes(tag)] = tag, callback, limit, no_ack

    def discard_consumer(self, channel: int, tag: str) -> None:
        """Drop further deliveries for the consumer *tag*: see `set_strays`."""
        self._consumers.pop((channel, _bytes(tag)), None)

    def set_strays(self, channel: int, callback: Callable[[Delivery], None]) -> None:
        """Pass the deliveries of consumers that are not known, without content, to *callback*."""
        self._strays[channel] = callback

    def set_confirms(self, channel: int, callback: OnConfirm) -> None:
        """Pass the confirms on *channel* to *callback*."""
        self._confirms[channel] = callback

    def set_returns(self, channel: int, callback: Callable[[Returned], None]) -> None:
        """Pass the returned messages on *channel* to *callback*."""
        self._returns[channel] = callback

    def discard_channel(self, channel: int) -> None:
        """Drop all state of *channel*, which has ended."""
        by_channels = self._contents, self.delivered, self._confirms, self._barriers, self._returns
        for by_channel in (*by_channels, self._strays, self.on_got):
            by_channel.pop(channel, None)
        for key in [key for key in self._consumers if key[0] == channel]:
            del self._consumers[key]

    # --- in

    def feed(self, data: bytes) -> None:  # noqa: C901 - it runs for each piece that was read
        """Handle the whole frames in *data*; raise an error of pika for a malformed stream."""
        transport = self._transport
        transport.bytes_received = received = transport.bytes_received + len(data)
        if self._rest:
            self._rest += data
            self._lacking -= len(data)
            if self._lacking > 0:
                return
            data = bytes(self._rest)
            self._rest.clear()
        self._now = time.monotonic()
        at, end = 0, len(data)
        while (lacking := FRAME_OVERHEAD - end + at) <= 0:
            frame_type, channel, size = FRAME_HEAD.unpack_from(data, at)
            if size > SMALL or frame_type not in FRAME_TYPES:
                _check(frame_type, size)
            after = at + size + FRAME_OVERHEAD
            if after > end:
                lacking = after - end
                break
            if data[after - 1] != FRAME_END_BYTE:
                raise pika.exceptions.InvalidFrameError("a frame does not end in CE")
            if frame_type != METHOD:
                self._on_content(frame_type, channel, data, at, after)
            elif data[at + 7 : at + 11] == DELIVER:
                after = self._on_deliver(channel, data, at, after)
            else:
                self._on_method(channel, data, at, after)
            at = after
        if at < end:
            self._rest += data[at:]
            self._lacking = lacking
        if received > self.look_at:
            self.on_look()

    def _on_method(self, channel: int, data: bytes, at: int, after: int) -> None:
        method = data[at + 7 : at + 11]
        if method in _CONFIRMS and channel in self._confirms and after - at >= _CONFIRM_SIZE:
            tag, bits = _TAG_AND_BITS.unpack_from(data, at + 11)
            self._confirms[channel](tag, bits & 1 == 1, method == NACK)
        elif method == _QOS_OK and channel in self._barriers:
            self._barriers.pop(channel)()
        elif method == _RETURN and channel in self._returns:
            self._on_return(channel, data[at + 11 : after - 1])
        elif method in _GOT and channel in self.on_got:
            content = self.on_got[channel](data[at + 7 : after - 1], self._now)
            if content is not None:
                self._contents[channel] = content
        else:
            self._transport.handle_frame(_decoded(data[at:after]))

    def _on_deliver(self, channel: int, data: bytes, at: int, after: int) -> int:
        """Handle a basic.deliver, and its content if that is here; return where the rest begins."""
        if channel in self._contents:
            self._give_up(channel, "its body is not complete")
        tag_end = at + 12 + data[at + 11]
        try:
            delivery_tag, redelivered = _TAG_AND_BITS.unpack_from(data, tag_end)
            exchange, key = _address(data[tag_end + 9 : after - 1])
        except (struct.error, ValueError, IndexError):
            self._on_cut_deliver(channel, data, at + 11, after - 1)
            return after
        self.delivered[channel] = delivery_tag
        tag = data[at + 12 : tag_end]
        consumer = self._consumers.get((channel, tag))
        if consumer is None:
            logger.debug("A delivery for a consumer that has ended was dropped.")
            if channel in self._strays:
                name = tag.decode("utf-8", "surrogateescape")
                stray = Delivery(name, delivery_tag, redelivered != 0, exchange, key, self._now)
                self._strays[channel](stray)
            return after
        name, callback, max_body, no_ack = consumer
        delivery = Delivery(name, delivery_tag, redelivered != 0, exchange, key, self._now)
        try:  # Nearly always the header and the whole body are the next two frames.
            kind, number, header_size, size = _HEADER_START.unpack_from(data, after)
            body_at = after + header_size + FRAME_OVERHEAD
            body_kind, body_number, body_size = FRAME_HEAD.unpack_from(data, body_at)
            end: int = body_at + size + FRAME_OVERHEAD
            ends = data[body_at - 1] == data[end - 1] == FRAME_END_BYTE
        except (struct.error, IndexError):
            ends = False
        if (
            ends
            and kind == HEADER
            and body_kind == BODY
            and number == body_number == channel
            and LEAST_HEADER <= header_size <= SMALL
            and 0 < size == body_size <= max_body
        ):
            delivery.header = data[after + 19 : body_at - 1]
            delivery.body = data[body_at + 7 : end - 1]
            try:  # as `_hand_over`
                callback(delivery)
            except Exception as exc:
                self._drop(delivery, exc)
            return end
        self._contents[channel] = UnfinishedMessage(delivery, callback, max_body, no_ack)
        return after

    def _on_cut_deliver(self, channel: int, data: bytes, at: int, end: int) -> None:
        """Hand over a delivery whose arguments are damaged, if it can be rejected by its tag."""
        tag_end = at + 1 + data[at]
        consumer = self._consumers.get((channel, data[at + 1 : tag_end]))
        if consumer is None or tag_end + _TAG_AND_BITS.size > end:
            self._note_drop("its basic.deliver is cut short; the broker still has the message")
            return
        tag, redelivered = _TAG_AND_BITS.unpack_from(data, tag_end)
        delivery = Delivery("", tag, redelivered != 0, "", "", self._now)
        self._contents[channel] = UnfinishedMessage(delivery, *consumer[1:])
        self._give_up(channel, "its exchange or routing key is damaged")

    def _on_return(self, channel: int, arguments: bytes) -> None:
        if channel in self._contents:
            self._give_up(channel, "its body is not complete")
        try:
            text, at = short_string_at(arguments, 2)
            exchange, key = _address(arguments[at:])
        except (ValueError, IndexError):
            self._note_drop("its basic.return is damaged")
            return
        returned = Returned("", 0, False, exchange, key, self._now)  # noqa: FBT003 - no delivery
        returned.reply_text = text
        self._contents[channel] = UnfinishedMessage(
            returned, self._returns[channel], LARGEST_BODY, no_ack=True
        )

    def _on_content(self, frame_type: int, channel: int, data: bytes, at: int, after: int) -> None:
        content = self._contents.get(channel)
        if frame_type == HEARTBEAT:
            self._transport.handle_frame(_decoded(data[at:after]))
        elif content is None:
            pass  # the rest of a message that was given up, or has no consumer
        else:
            add = content.add_header if frame_type == HEADER else content.add_body
            problem = add(data[at + 7 : after - 1])
            if problem:
                self._give_up(channel, problem)
            elif content.finish():
                del self._contents[channel]
                self._hand_over(content.message, content.callback)

    def _give_up(self, channel: int, why: str) -> None:
        """Hand over at once a message that cannot be read; the rest of it will be ignored."""
        content = self._contents.pop(channel)
        if content.no_ack:
            self._note_drop(why)
        else:
            self._hand_over(UnreadableDelivery(content.message, why), content.callback)

    def _hand_over(self, message: Delivery, callback: Callable[[Any], None]) -> None:
        """Call *callback*; what one message makes it raise must not end the connection of all."""
        try:
            callback(message)
        except Exception as exc:
            self._drop(message, exc)

    def _drop(self, message: Delivery, exc: Exception) -> None:
        self._note_drop(exc, exc_info=not isinstance(exc, MalformedMessage))
        if hasattr(message, "channel"):  # its consumer acknowledges
            message.reject(requeue=False)

    def _note_drop(self, why: object, *, exc_info: bool = False) -> None:
        self.dropped += 1
        sort = place_of(why) if isinstance(why, Exception) else ()
        extra = counted(*sort)
        logger.error("A message was dropped: %s", why, exc_info=exc_info, extra=extra)


def _check(frame_type: int, size: int) -> None:
    if frame_type not in FRAME_TYPES:
        raise pika.exceptions.InvalidFrameError(f"unknown frame type {frame_type}")
    if size > LARGEST_FRAME:
        raise pika.exceptions.InvalidFrameError(
            f"a frame of {size} bytes, over {LARGEST_FRAME}: no AMQP, or damaged on its way"
        )


def _decoded(frame: bytes) -> Any:
    """Return a *frame* as pika decodes it; raise pika's `InvalidFrameError` if that fails."""
    try:
        return pika.frame.decode_frame(frame)[1]
    except pika.exceptions.AMQPError:
        raise
    except Exception as exc:  # pika expects valid frames, so damaged ones raise errors of any kind
        raise pika.exceptions.InvalidFrameError(f"a frame cannot be decoded: {exc!r}") from exc


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


def _bytes(text: str | bytes) -> bytes:
    # pika leaves bytes that are no UTF-8, such as the tag in a damaged basic.cancel, as they are.
    return text if isinstance(text, bytes) else text.encode("utf-8", "surrogateescape")


@lru_cache(maxsize=1024)
def _address(data: bytes) -> tuple[str, str]:
    """Return exchange and key; few of them occur in many messages."""
    exchange, at = short_string_at(data, 0)
    key, at = short_string_at(data, at)
    if at != len(data):
        raise ValueError("exchange and key do not end with their frame")
    return exchange, key
