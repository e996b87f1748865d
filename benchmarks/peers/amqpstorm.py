"""amqpstorm in a patched process: a greenlet reads, and many greenlets share a connection.

Every greenlet that publishes has a channel of its own, as its documentation advises for threads.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import gevent
from amqpstorm import Message, UriConnection
from gevent.event import AsyncResult

from benchmarks.job import EXCHANGE, PREFETCH, Job
from benchmarks.payload import decoded, encoded


def consuming(job: Job, on_message: Callable[[Any], None]) -> Any:
    """Consume the queue of *job* with *on_message*; return the channel."""
    channel = UriConnection(job.url).channel()
    channel.basic.qos(PREFETCH)
    channel.basic.consume(on_message, job.queue)
    return channel


def serve(job: Job) -> None:
    """Answer requests where they come in, or in greenlets where the handler waits."""

    def on_request(message: Any) -> None:
        if job.pause:
            gevent.spawn_later(job.pause, reply, message)
        else:
            reply(message)

    def reply(message: Any) -> None:
        same_id = {"correlation_id": message.correlation_id}
        answer = encoded(decoded(message.body))
        Message.create(message.channel, answer, same_id).publish(message.reply_to)
        message.ack()

    consuming(job, on_request).start_consuming()


class Caller:
    """The documentation's client for many threads: one of them consumes the replies."""

    def __init__(self, job: Job) -> None:
        self.queue = job.queue
        self.channel = UriConnection(job.url).channel()
        self.replies = self.channel.queue.declare(exclusive=True)["queue"]
        self.channel.basic.consume(self._on_reply, self.replies, no_ack=True)
        self.waiting: dict[str, AsyncResult[Any]] = {}
        gevent.spawn(self.channel.start_consuming)

    def __call__(self, payload: Any) -> Any:
        """Call and wait; other greenlets run meanwhile."""
        message = Message.create(self.channel, encoded(payload), {"reply_to": self.replies})
        answer: AsyncResult[Any] = AsyncResult()
        self.waiting[message.correlation_id] = answer
        message.publish(self.queue, EXCHANGE)
        return decoded(answer.get())

    def _on_reply(self, message: Any) -> None:
        self.waiting.pop(message.correlation_id).set(message.body)


open_caller = Caller


def open_publisher(job: Job) -> Callable[[Any], None]:
    """Return a function for many greenlets."""
    connection, own = UriConnection(job.url), threading.local()
    properties = {"delivery_mode": 2 if job.persistent else 1}

    def channel() -> Any:
        if not hasattr(own, "channel"):
            own.channel = connection.channel()
            if job.confirm:
                own.channel.confirm_deliveries()
        return own.channel

    def publish(payload: Any) -> None:
        channel().basic.publish(encoded(payload), job.queue, EXCHANGE, dict(properties))

    return publish


def consume(job: Job, handle: Callable[[Any], bool]) -> None:
    """Handle and acknowledge where messages come in."""

    def on_message(message: Any) -> None:
        more = handle(decoded(message.body))
        message.ack()
        if not more:
            message.channel.stop_consuming()

    consuming(job, on_message).start_consuming()
