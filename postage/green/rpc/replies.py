"""The queues on which the replies to calls arrive.

A call has a correlation id, and its reply finds it by that.  Classic Postage (1.2.1) does not echo
the id, so nothing on a shared queue would tell whose its reply is.  Therefore the first call to a
destination gets a reply queue of its own; only when the answer has shown that the peer echoes the
id do further calls to it share the one queue.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from gevent.event import AsyncResult

from postage.errors import ChannelRefused, ConnectionLost, ConsumerCancelled, PostageError
from postage.green.amqp.channel import Channel, new_tag
from postage.green.amqp.connection import Connection
from postage.green.amqp.delivery import Delivery
from postage.green.amqp.pair import Pair

__all__ = ["OnLoss", "ReplyQueue", "collect", "private_queue"]

LEFT_AFTER = 60_000
"""Milliseconds after which the broker drops a reply queue without a consumer: that of a greenlet
which was killed between the two."""
UNCLAIMED_AFTER = 3_600_000
"""Milliseconds after which the broker drops a private reply queue that nobody reads."""

NOT_FOUND = 404

OnLoss = Callable[[PostageError], None]


class ReplyQueue:
    """An exclusive queue and its consumer, which hands each reply to *on_reply* in the hub.

    Making one switches, and raises `ConnectionLost` where it is lost before it is ready.  *on_loss*
    is called in the hub when no reply can come any more: the channel has ended, or the broker the
    consumer, as it does when the queue is deleted.
    """

    def __init__(
        self, channel: Channel, on_reply: Callable[[Delivery], None], on_loss: OnLoss
    ) -> None:
        self.alive = True
        """False once no reply can come."""
        self._channel, self._on_loss, self._tag = channel, on_loss, new_tag()
        channel.on_end.append(self._lost)
        channel.on_cancel.append(self._cancelled)
        try:
            with _missing_is_lost("for replies"):
                self.name = _declare(channel, LEFT_AFTER)
                channel.consume(self.name, on_reply, no_ack=True, tag=self._tag)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End it, and the queue with it; never switches, and closing twice is fine."""
        if self.alive:
            self._forget()
            self._channel.discard_consumer(self._tag)

    def _forget(self) -> None:
        self.alive = False
        self._channel.on_end.remove(self._lost)
        self._channel.on_cancel.remove(self._cancelled)

    def _lost(self, error: PostageError) -> None:
        self._forget()
        self._on_loss(error)

    def _cancelled(self, tag: str) -> None:
        if tag == self._tag:
            self._lost(ConnectionLost("the broker ended the reply queue: was it deleted?"))


@contextmanager
def _missing_is_lost(queue: str) -> Iterator[None]:
    """Raise `ConnectionLost` for *queue*, which was there, where the broker knows it no more."""
    try:
        yield
    except ChannelRefused as exc:
        if exc.code != NOT_FOUND:
            raise
        text = f"the queue {queue!r} is gone: it ends with its connection, or was deleted ({exc})"
        raise ConnectionLost(text) from exc


def private_queue(channel: Channel) -> str:
    """Declare a queue for whoever collects from it later; return its name.  Switches."""
    return _declare(channel, UNCLAIMED_AFTER)


def _declare(channel: Channel, expires: int) -> str:
    arguments = {"x-expires": expires}
    return channel.queue_declare("", exclusive=True, auto_delete=True, arguments=arguments)


def collect(pair: Pair, queue: str, count: int, *, timeout: float) -> tuple[list[Delivery], bool]:
    """Wait for *count* replies on *queue*, at most *timeout* seconds; switches.

    Returns those that came, and whether they are all.  The queue ends with this, and with the
    connection that it was made on: then, or where it was deleted, raises `ConnectionLost` at once;
    `ConsumerCancelled` where it is deleted meanwhile.
    """
    replies: list[Delivery] = []
    complete: AsyncResult[None] = AsyncResult()
    tag = new_tag()

    def take(delivery: Delivery) -> None:
        if len(replies) < count:
            replies.append(delivery)
        if len(replies) == count:
            complete.set()

    def cancelled(cancelled_tag: str) -> None:
        if cancelled_tag == tag:
            complete.set_exception(ConsumerCancelled(queue))

    with _missing_is_lost(queue), _home(pair, queue).lease() as channel:
        channel.on_end.append(complete.set_exception)
        channel.on_cancel.append(cancelled)
        try:
            channel.consume(queue, take, no_ack=True, tag=tag)
            complete.wait(timeout)
            if complete.ready():
                complete.get()
        finally:
            channel.discard_consumer(tag)
            channel.on_end.remove(complete.set_exception)
            channel.on_cancel.remove(cancelled)
    return replies, len(replies) == count


def _home(pair: Pair, queue: str) -> Connection:
    connection = pair.consuming.current
    if connection is None:
        raise ConnectionLost(f"the queue {queue!r} is gone with its connection to the broker")
    return connection
