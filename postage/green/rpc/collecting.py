"""Collecting the replies that arrive on a private queue."""

from __future__ import annotations

from gevent.event import AsyncResult

from postage.errors import ConnectionLost, ConsumerCancelled
from postage.green.amqp.channel import new_tag
from postage.green.amqp.connection import Connection
from postage.green.amqp.delivery import Delivery
from postage.green.amqp.pair import Pair
from postage.green.rpc.replies import missing_is_lost

__all__ = ["collect"]


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

    with missing_is_lost(queue), _home(pair, queue).lease() as channel:
        channel.on_end.append(complete.set_exception)
        channel.on_cancel.append(cancelled)
        try:
            channel.consume(queue, take, no_ack=True, tag=tag)
            complete.wait(timeout)
            if complete.ready():
                complete.get()
        finally:
            channel.cancel_now(tag)
            channel.on_end.remove(complete.set_exception)
            channel.on_cancel.remove(cancelled)
    return replies, len(replies) == count


def _home(pair: Pair, queue: str) -> Connection:
    connection = pair.consuming.current
    if connection is None:
        raise ConnectionLost(f"the queue {queue!r} is gone with its connection to the broker")
    return connection
