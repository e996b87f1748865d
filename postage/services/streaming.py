"""Streams from the server's side: the parts that a handler yields, sent one by one.

How it works
------------
A stream is handled in the greenlet of its handler, as any call is.  This greenlet asks the
handler's iterator for a part, sends the part, and waits while the caller allows no more.  A
`PartSender` has a channel of its own, so that its messages keep their order, and a part that the
broker refuses ends no other stream.  It also has a queue of its own, for credits.

The stream ends when the iterator does, or by `StopSending`, which is raised in the greenlet when
the caller has stopped, is gone, or takes no parts, or when the channel is lost.  If the handler is
running meanwhile, it is interrupted where it waits, as by a time limit.  In each case the iterator
is closed, so a ``finally`` in the handler runs.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import gevent
import gevent.hub

from postage import deadline
from postage.dispatch import HandlerKilled, Reply, disclosed
from postage.encoding import body_of
from postage.errors import ChannelRefused, HandlerError, PostageError
from postage.green.amqp.channel import DIRECT, Channel
from postage.green.amqp.delivery import Delivery
from postage.green.amqp.hub_logging import HubLogger
from postage.green.amqp.properties import Properties
from postage.green.amqp.publish_record import PublishEntry
from postage.green.amqp.waiting import Wakeup
from postage.green.handling.without_broker import KeptReply
from postage.green.rpc.replies import ReplyQueue
from postage.green.rpc.replying import is_routing_key
from postage.green.runtime import runtime_of
from postage.log_records import counted
from postage.message import CONNECTION_LOST, SUCCESS, TIMEOUT, MessageResult, MessageResultException
from postage.services import stream_protocol
from postage.services.signatures import Signature
from postage.services.stream_protocol import (
    ACCEPTED,
    CREDIT,
    END,
    NUMBER,
    PART,
    STOP,
    STREAMS,
    number_in,
)

__all__ = ["PartSender", "StopSending", "asks_for_parts", "refusal", "sender_of"]

logger = HubLogger(__name__)

MOST_AHEAD = 1000
"""Parts that a credit allows at most, whatever its number says."""
KEPT_PARTS = 1000
"""Parts of a stream that `postage.testing.handle` keeps."""
_DONE: Any = object()


class StopSending(BaseException):
    """Raised in the greenlet of a handler whose stream has to end.

    It is no `Exception`, so ``except Exception`` in the handler does not catch it.
    """

    def __init__(self, why: str, told: str | None = None) -> None:
        super().__init__(why)
        self.told = told
        """The name of the exception that the caller gets; None: the caller waits for none."""


def asks_for_parts(reply: Any) -> bool:
    """Tell whether the caller that gets *reply* has asked for a stream, and can get one."""
    if isinstance(reply, KeptReply):
        return True
    header: Properties = reply.header
    has_way = is_routing_key(header.reply_to) and isinstance(header.correlation_id, str)
    return has_way and bool(number_in(header.headers))


def refusal(name: str) -> MessageResultException:
    """Return the reply of the streaming handler *name* to a caller that asks for no stream."""
    text = f"the handler {name!r} sends a stream of parts: call it by a typed client"
    return MessageResultException(STREAMS, text)


class PartSender:
    """Sends one stream to the caller that *reply* belongs to; for the greenlet of the handler.

    *limit*: the seconds that it waits for a caller that takes no parts.  A context manager: the end
    of the block releases its channel and its queue, and never switches.
    """

    def __init__(self, processor: Any, reply: Reply, limit: float) -> None:
        any_reply: Any = reply
        header: Properties = any_reply.header
        self._reply, self._limit, self._name = reply, limit, type(processor).__name__
        self._encoder = processor.consumer.encoder
        self._runtime = runtime_of(processor.consumer.settings)
        self._key, self._id = str(header.reply_to), str(header.correlation_id)
        self._allowed = min(number_in(header.headers) or 0, MOST_AHEAD)
        self._sent = self._beats = 0
        self._stopped: StopSending | None = None
        self._wakeup = Wakeup()
        self._greenlet: Any = gevent.getcurrent()
        self._is_in_handler = False
        self._channel: Channel | None = None
        self._queue: ReplyQueue | None = None
        self._timer: Any = None

    def __enter__(self) -> PartSender:  # noqa: PYI034 - Self needs Python 3.11
        return self

    def __exit__(self, *_: object) -> None:
        """Release channel and queue; never switches."""
        if self._timer is not None:
            self._timer.close()
        if self._queue is not None:
            self._queue.close()
        if self._channel is not None:
            self._channel.close_nowait()

    def _open(self) -> None:
        """Accept the stream; switches, and raises what opening a channel and a queue raises."""
        pair = self._runtime.pair
        is_direct = self._key.startswith(DIRECT)
        connection = pair.for_direct_replies() if is_direct else pair.publishing.get()
        channel = connection.open_channel(lent=True, on_return=self._on_return, on_end=self._lose)
        self._channel, channel.on_failure = channel, self._on_failure
        opened = self._runtime.calls.open_queue(self._on_message, self._on_queue_lost, channel)
        self._queue = opened
        self._publish(ACCEPTED, 0, b"")
        pulse = stream_protocol.PULSE
        self._timer = gevent.hub.get_hub().loop.timer(pulse, pulse, ref=False)
        self._timer.start(self._beat)
        limit = deadline.current()
        if limit is not None:
            limit.clear()  # it was the time for the acceptance; each part has its own

    # --- in the greenlet of the handler

    def send_all(self, make: Callable[[], Any], signature: Signature) -> None:
        """Send all parts that the iterator of *make* yields, and then the end; switches.

        Returns also if the stream ends early because of its caller or its channel; then tells the
        caller, if it waits.  Raises what the iterator raises, and what opening the channel and the
        queue raises.
        """
        try:
            self._open()
            with _closing(make(), signature) as values:
                self._send_each(values, signature.result)
        except StopSending as why:
            self._end_early(why)
        else:
            self.end(MessageResult(None))

    def _send_each(self, values: Iterator[Any], part: Callable[[Any], MessageResult]) -> None:
        while True:
            self._wait_for_credit()
            value = self._next(values)
            if value is _DONE:
                return
            body = body_of(self._encoder, part(value).body)
            if self._stopped is not None:
                raise self._stopped
            try:
                self._publish(PART, self._sent + 1, body)
            except PostageError as exc:
                self._lose(exc)
                assert self._stopped is not None
                raise self._stopped from exc
            self._sent += 1

    def _next(self, values: Any) -> Any:
        self._is_in_handler = True
        try:
            return next(values, _DONE)
        finally:
            self._is_in_handler = False

    def _wait_for_credit(self) -> None:
        """Wait until a part may be sent; raise `StopSending` if none may be any more."""
        if self._stopped is None and self._sent < self._allowed:
            return
        until = time.monotonic() + self._limit
        while self._stopped is None and self._sent >= self._allowed:
            remaining = until - time.monotonic()
            if remaining <= 0:
                why = f"the caller has taken no part for {self._limit:g} s (stream_timeout)"
                self._stopped = StopSending(why, TIMEOUT)
            else:
                self._wakeup.wait(remaining)
                self._wakeup.clear()
        if self._stopped is not None:
            raise self._stopped

    def end(self, result: MessageResult) -> None:
        """Send *result* as the end of the stream; switches while the broker takes no data.

        If *result* cannot be encoded, raises what the encoder does, and sends nothing.  If the
        channel is lost, parts may be lost, too: the caller then gets an exception result, which is
        sent as the reply to any call is.
        """
        body = body_of(self._encoder, result.body)
        if self._timer is not None:
            try:
                self._publish(END, self._sent, body)
            except PostageError as exc:
                self._lose(exc)
                if result.kind == SUCCESS:
                    result = MessageResultException(CONNECTION_LOST, str(exc))
            else:
                self._reply.sent, self._reply.result = True, result
                return
        self._reply(result)

    def fail(self, error: BaseException) -> bool:
        """End the stream with *error*; return whether nothing else has to be done about *error*.

        Switches while the broker takes no data.
        """
        if self._timer is None or self._reply.sent:
            return False
        if not isinstance(error, HandlerKilled):
            result, _ = disclosed(error, self._reply.exposure)
            self.end(result)
            return False
        channel = self._channel
        if channel is None or not channel.alive or not channel.transport.takes_data:
            return False  # there is no time to wait
        self.end(MessageResultException(CONNECTION_LOST, "the server stops, and kills the handler"))
        return True  # the caller knows: to handle the request again would help nobody

    def _end_early(self, why: StopSending) -> None:
        sort = counted(self._name, why.told)
        logger.info("%s ends a stream after %d parts: %s.", self._name, self._sent, why, extra=sort)
        if why.told is None:
            self._reply.sent = True
        else:
            self.end(MessageResultException(why.told, str(why)))

    def _publish(self, kind: str, number: int, body: bytes) -> None:
        assert self._channel is not None
        assert self._queue is not None
        properties = Properties(
            content_type=self._encoder.content_type,
            headers={NUMBER: number},
            correlation_id=self._id,
            reply_to=self._queue.name,
            type=kind,
        )
        self._channel.publish("", self._key, properties, body, mandatory=True)

    # --- in the hub

    def _beat(self) -> None:
        """Ask the broker whether the caller's queue exists, if no part has done so of late."""
        channel = self._channel
        is_quiet = self._sent == self._beats
        if is_quiet and channel is not None and channel.alive and channel.transport.takes_data:
            self._publish(ACCEPTED, 0, b"")  # does not switch, as the transport takes data
        self._beats = self._sent

    def _on_message(self, delivery: Delivery) -> None:
        """Take a credit, or the end, from the queue of this stream."""
        properties = delivery.properties
        if properties.correlation_id != self._id:
            return  # it is not from the caller, who alone knows the id
        if properties.type == STOP:
            self._stop(StopSending("the caller has stopped"))
        elif properties.type == CREDIT:
            number = min(number_in(properties.headers) or 0, self._sent + MOST_AHEAD)
            self._allowed = max(self._allowed, number)
            self._wakeup.set()

    def _on_return(self, _reason: str, _properties: Properties) -> None:
        self._stop(StopSending("the caller is gone"))

    def _on_failure(self, _entries: list[PublishEntry], error: PostageError) -> None:
        self._lose(error)

    def _on_queue_lost(self, error: PostageError) -> None:
        if self._queue is not None:  # else our user may not declare it, and gets direct replies
            self._lose(error)

    def _lose(self, error: PostageError) -> None:
        is_refused = isinstance(error, ChannelRefused)
        name = type(error).__name__ if is_refused else CONNECTION_LOST
        text = f"the broker refused a part ({error.code})" if is_refused else str(error)  # type: ignore[attr-defined]
        self._stop(StopSending(text, name))

    def _stop(self, why: StopSending) -> None:
        """Let the greenlet of the handler end the stream, also if it waits in the handler."""
        if self._stopped is None:
            self._stopped = why
            self._wakeup.set()
            gevent.hub.get_hub().loop.run_callback(self._interrupt)

    def _interrupt(self) -> None:
        if self._is_in_handler:
            self._is_in_handler = False
            self._greenlet.throw(self._stopped)


class _PartKeeper:
    """Stands for a `PartSender` where no caller is: the reply is a list of all parts."""

    def __init__(self, reply: KeptReply) -> None:
        self.end: Callable[[MessageResult], None] = reply

    def __enter__(self) -> _PartKeeper:  # noqa: PYI034 - Self needs Python 3.11
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def send_all(self, make: Callable[[], Any], signature: Signature) -> None:
        parts: list[Any] = []
        with _closing(make(), signature) as values:
            for value in values:
                if len(parts) == KEPT_PARTS:
                    text = f"yields more than {KEPT_PARTS} parts, which a test cannot keep"
                    raise HandlerError(signature.where, text)
                parts.append(signature.result(value).value)
        self.end(MessageResult(parts))

    def fail(self, _error: BaseException) -> bool:
        return False


def sender_of(processor: Any, reply: Any) -> PartSender | _PartKeeper:
    """Return the sender of the parts that a handler of *processor* yields, a context manager.

    Without a broker (`KeptReply`), it keeps the parts for the reply.
    """
    if isinstance(reply, KeptReply):
        return _PartKeeper(reply)
    return PartSender(processor, reply, processor.stream_timeout)


@contextmanager
def _closing(values: Any, signature: Signature) -> Iterator[Iterator[Any]]:
    """Close *values*, an iterator of the handler's, at the end of the block."""
    if not isinstance(values, Iterator):
        raise HandlerError(signature.where, f"must return an iterator, not {values!r:.80}")
    try:
        yield values
    finally:
        close = getattr(values, "close", None)
        if close is not None:
            close()
