"""pika's BlockingConnection in a monkey-patched process, shared by greenlets.

pika says that a connection is not thread safe; its FAQ and examples use `add_callback_threadsafe`
instead of sharing it.  One owner processes the connection's events, and others pass it callbacks.
Serving and consuming happen in callbacks, as without gevent.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import gevent
import pika
from gevent.event import AsyncResult

from benchmarks.job import EXCHANGE, Job
from benchmarks.payload import decoded, encoded
from benchmarks.peers.blocking import channel_to, consume, kept, serve

__all__ = ["consume", "open_caller", "open_publisher", "serve"]


class Owner:
    """The one greenlet that may touch the connection."""

    def __init__(self, url: str) -> None:
        self.channel = channel_to(url)

    def start(self) -> None:
        """Begin to own the connection; from now on others use `hand` only."""
        gevent.spawn(self._run)

    def hand(self, work: Callable[[], object]) -> None:
        """Let the owner's greenlet do *work* soon."""
        self.channel.connection.add_callback_threadsafe(work)

    def _run(self) -> None:
        while True:
            self.channel.connection.process_data_events(time_limit=1)


class Caller:
    """RPCs of many greenlets over one connection, told apart by their correlation ids."""

    def __init__(self, job: Job) -> None:
        self.owner, self.queue = Owner(job.url), job.queue
        self.waiting: dict[str, AsyncResult[bytes]] = {}
        channel = self.owner.channel
        self.replies = channel.queue_declare("", exclusive=True).method.queue
        channel.basic_consume(self.replies, self._on_reply, auto_ack=True)
        self.owner.start()

    def __call__(self, payload: Any) -> Any:
        """Call and wait; other greenlets run meanwhile."""
        call_id, body = str(uuid.uuid4()), encoded(payload)
        properties = pika.BasicProperties(reply_to=self.replies, correlation_id=call_id)
        answer: AsyncResult[bytes] = AsyncResult()
        self.waiting[call_id] = answer
        publish = self.owner.channel.basic_publish
        self.owner.hand(lambda: publish(EXCHANGE, self.queue, body, properties))
        return decoded(answer.get() or b"")

    def _on_reply(self, _channel: Any, _method: Any, properties: Any, body: bytes) -> None:
        self.waiting.pop(properties.correlation_id).set(body)


open_caller = Caller


def open_publisher(job: Job) -> Callable[[Any], object]:
    """Return a function for many greenlets; it returns when the owner has published."""
    owner, properties = Owner(job.url), kept(job)
    if job.confirm:
        owner.channel.confirm_delivery()
    owner.start()

    def publish(payload: Any) -> None:
        body = encoded(payload)
        done: AsyncResult[object] = AsyncResult()
        basic_publish = owner.channel.basic_publish
        owner.hand(lambda: done.set(basic_publish(EXCHANGE, job.queue, body, properties)))
        done.get()

    return publish
