"""Reply queues: shared by many calls, owned by one call, or read later by a `ReplyCollector`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from gevent.event import AsyncResult

from postage.attributes import PRODUCER, REPLIES
from postage.callables import refuse_lazy
from postage.encoding import Encoder, JsonEncoder, read_message
from postage.errors import (
    ChannelRefused,
    ConnectionLost,
    ConsumerCancelled,
    DecodingError,
    PostageError,
    TimeoutError,  # noqa: A004 - the classic name
)
from postage.green.amqp.channel import DIRECT, Channel, new_tag
from postage.green.amqp.delivery import Delivery
from postage.green.amqp.hub_logging import HubLogger
from postage.green.amqp.pair import Pair
from postage.log_records import counted
from postage.message import MessageResult, MessageResultError, result_from
from postage.protocol import NOT_FOUND
from postage.values import check_arguments

__all__ = ["DirectReplyQueue", "ReplyCollector", "ReplyQueue", "private_queue", "result_of"]

logger = HubLogger(__name__)

EXPIRES_WITHOUT_CONSUMER = 60_000
"""Milliseconds after which the broker deletes a reply queue without a consumer: its greenlet was
killed between declaring and consuming."""
EXPIRES_UNREAD = 3_600_000
"""Milliseconds after which the broker deletes a private reply queue that is not read."""


class ReplyQueue:
    """An exclusive queue with a consumer that passes each reply to *on_reply*, in the hub.

    Making one switches, and raises `ConnectionLost` if the connection is lost meanwhile.  *on_loss*
    is called in the hub when replies can no longer arrive: the channel has ended, or the broker
    has ended the consumer because the queue was deleted.
    """

    _awaits_consumer = True

    def __init__(
        self,
        channel: Channel,
        on_reply: Callable[[Delivery], None],
        on_loss: Callable[[PostageError], None],
    ) -> None:
        self.alive = True
        """Whether replies can still arrive."""
        self.request_channel: Channel | None = None
        """The only channel for requests whose replies shall arrive here; None: any."""
        self._channel, self._on_loss, self._tag = channel, on_loss, new_tag()
        channel.on_end.append(self._on_end)
        channel.on_cancel.append(self._on_cancel)
        try:
            with _missing_is_lost("for replies"):
                self.name = self._declare(channel)
                waits = self._awaits_consumer
                channel.consume(self.name, on_reply, no_ack=True, tag=self._tag, waits=waits)
        except BaseException:
            self.close()
            raise

    def _declare(self, channel: Channel) -> str:
        return _declare(channel, EXPIRES_WITHOUT_CONSUMER)

    def close(self) -> None:
        """End the consumer, and with it the queue; never switches, and may be called twice."""
        if self.alive:
            self._channel.cancel_nowait(self._tag, drop=True)
            self._detach()

    def _detach(self) -> None:
        self.alive = False
        self._channel.on_end.remove(self._on_end)
        self._channel.on_cancel.remove(self._on_cancel)

    def _on_end(self, error: PostageError) -> None:
        self._detach()
        self._on_loss(error)

    def _on_cancel(self, tag: str) -> None:
        if tag == self._tag:
            self._on_end(ConnectionLost("the broker ended the reply queue: was it deleted?"))


class DirectReplyQueue(ReplyQueue):
    """The pseudo-queue of RabbitMQ's direct reply-to, which needs no permission to declare a queue.

    Replies arrive on the very channel that the request was sent on, so *channel* belongs to this
    queue alone.  At its end, the channel is given to *release*, by default closed.  Making one
    never switches: the broker reads the request after the start of the consumer.
    """

    _awaits_consumer = False

    def __init__(
        self,
        channel: Channel,
        on_reply: Callable[[Delivery], None],
        on_loss: Callable[[PostageError], None],
        release: Callable[[Channel], None] = Channel.close_nowait,
    ) -> None:
        self._release = release
        try:
            super().__init__(channel, on_reply, on_loss)
        except BaseException:
            channel.close_nowait()  # it may have the consumer, and another one would be refused
            raise

    def _declare(self, channel: Channel) -> str:
        self.request_channel = channel
        return DIRECT.removesuffix(".")

    def _detach(self) -> None:
        super()._detach()
        self._release(self._channel)


def private_queue(channel: Channel) -> str:
    """Declare a queue whose replies will be read later; return its name.  Switches."""
    return _declare(channel, EXPIRES_UNREAD)


def _collect(pair: Pair, queue: str, count: int, *, timeout: float) -> tuple[list[Delivery], bool]:
    """Wait for *count* replies on *queue*, at most *timeout* seconds; switches.

    Returns the replies that arrived, and whether there are *count* of them.  Afterwards
    the broker deletes the queue, as it does when the connection ends.  Raises `ConnectionLost` if
    the queue does not exist, and `ConsumerCancelled` if it is deleted meanwhile.

    The replies may weigh what the setting ``memory`` allows, see `postage.budget`.  Those that
    would be too much are dropped and logged, so that they are not complete.
    """
    room = pair.settings.memory
    connection = pair.consuming.current
    if connection is None:
        raise ConnectionLost(f"the queue {queue!r} is gone with its connection to the broker")
    replies: list[Delivery] = []
    complete: AsyncResult[None] = AsyncResult()
    tag = new_tag()

    def take(delivery: Delivery) -> None:
        nonlocal room
        room -= delivery.weight
        if room < 0:
            logger.warning("Replies on %r are dropped: they are too many.", queue, extra=counted())
        elif len(replies) < count:
            replies.append(delivery)
        if len(replies) == count:
            complete.set()

    def on_cancel(cancelled_tag: str) -> None:
        if cancelled_tag == tag:
            complete.set_exception(ConsumerCancelled(queue))

    with _missing_is_lost(queue), connection.lease() as channel:
        channel.on_end.append(complete.set_exception)
        channel.on_cancel.append(on_cancel)
        try:
            channel.consume(queue, take, no_ack=True, tag=tag, max_body=room)
            complete.wait(timeout)
            if complete.ready():
                complete.get()
        finally:
            channel.cancel_nowait(tag, drop=True)
            channel.on_end.remove(complete.set_exception)
            channel.on_cancel.remove(on_cancel)
    return replies, len(replies) == count


@contextmanager
def _missing_is_lost(queue: str) -> Iterator[None]:
    """Raise `ConnectionLost` if *queue*, which existed, is missing."""
    try:
        yield
    except ChannelRefused as exc:
        if exc.code != NOT_FOUND:
            raise
        text = f"the queue {queue!r} is gone: it ends with its connection, or was deleted ({exc})"
        raise ConnectionLost(text) from exc


def _declare(channel: Channel, expires: int) -> str:
    """Declare an exclusive queue that expires after *expires* milliseconds; return its name."""
    arguments = {"x-expires": expires}
    return channel.queue_declare("", exclusive=True, auto_delete=True, arguments=arguments)


def result_of(encoder: Encoder, body: bytes) -> tuple[Any, MessageResult]:
    """Return the decoded *body* of a reply, and the result message in it."""
    try:
        decoded = read_message(body) if type(encoder) is JsonEncoder else encoder.decode(body)
    except Exception as exc:  # an encoder of the user's may raise anything
        try:
            # A server refuses other encodings in JSON, and may leave out all but the content.
            decoded = JsonEncoder.decode(body)
        except DecodingError:
            logger.warning("A reply could not be decoded: %s", exc, extra=counted())
            return None, MessageResultError(f"Malformed reply {body[:200]!r}")
    return decoded, result_from(decoded)


class ReplyCollector:
    """The part of a producer that reads private reply queues."""

    rpc_timeout: float
    encoder: Encoder

    @property
    def _pair(self) -> Pair:
        raise NotImplementedError

    def consume_rpc(
        self,
        queue: str,
        result_len: int = 1,
        callback: Callable[[Any], object] | None = None,
        timeout: float | None = None,
    ) -> list[MessageResult]:
        """Wait for *result_len* replies on *queue*, which ``rpc_X(_queue_only=True)`` returned.

        Returns the result messages, and calls *callback* with each decoded reply.  A malformed
        reply is a `MessageResultError`.  After *timeout* seconds (default `rpc_timeout`) raises
        `TimeoutError` with the results that have arrived.
        """
        check_arguments(REPLIES, queue=queue, result_len=result_len, callback=callback)
        refuse_lazy(callback)
        timeout = self.rpc_timeout if timeout is None else self._timeout(timeout, "timeout")
        replies, is_complete = _collect(self._pair, queue, result_len, timeout=timeout)
        results = []
        for reply in replies:
            decoded, result = result_of(self.encoder, reply.body)
            results.append(result)
            if callback is not None:
                callback(decoded)
        if not is_complete:
            text = f"{len(results)} of {result_len} replies came within {timeout:g} s"
            raise TimeoutError(text, tuple(results))
        return results

    def _timeout(self, given: float, name: str = "_timeout") -> float:
        with suppress(TypeError):  # of a text, for example: it is refused below
            if given < 0:
                return self.rpc_timeout  # as in 1.2.1
        PRODUCER["rpc_timeout"](name, given)
        return given
