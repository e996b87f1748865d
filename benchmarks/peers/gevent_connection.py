"""pika's GeventConnection: callbacks run in gevent's hub, any greenlet may publish."""

from __future__ import annotations

import itertools
import uuid
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import gevent
import pika
from gevent.event import AsyncResult, Event
from pika.adapters.gevent_connection import GeventConnection

from benchmarks.job import EXCHANGE, PREFETCH, Job
from benchmarks.payload import decoded, encoded
from benchmarks.peers.blocking import kept

TIMEOUT = 10.0
#: Nothing is sent before the hub runs, so a publisher must let the hub run now and then.
BREATH = 100


def channel_to(url: str) -> Any:
    """Connect and return a channel."""
    opened: Any = AsyncResult()
    GeventConnection(
        pika.URLParameters(url),
        on_open_callback=lambda connection: connection.channel(on_open_callback=opened.set),
        on_open_error_callback=lambda _connection, error: opened.set_exception(error),
    )
    return opened.get(timeout=TIMEOUT)


def consuming(job: Job, on_message: Any) -> Any:
    """Consume the queue of *job* with *on_message*; return the channel."""
    channel = channel_to(job.url)
    ready: Any = AsyncResult()
    channel.basic_qos(prefetch_count=PREFETCH)
    channel.basic_consume(job.queue, on_message, callback=ready.set)
    ready.get(timeout=TIMEOUT)
    return channel


def serve(job: Job) -> None:
    """Answer requests in the consumer's callback, or in greenlets where the handler waits."""

    def on_request(channel: Any, method: Any, properties: Any, body: bytes) -> None:
        if job.pause:
            gevent.spawn_later(job.pause, reply, channel, method, properties, body)
        else:
            reply(channel, method, properties, body)

    def reply(channel: Any, method: Any, properties: Any, body: bytes) -> None:
        answer = encoded(decoded(body))
        same_id = pika.BasicProperties(correlation_id=properties.correlation_id)
        channel.basic_publish("", properties.reply_to, answer, same_id)
        channel.basic_ack(method.delivery_tag)

    consuming(job, on_request)
    Event().wait()


class Caller:
    """RPCs of many greenlets over one channel, told apart by their correlation ids."""

    def __init__(self, job: Job) -> None:
        self.channel, self.queue = channel_to(job.url), job.queue
        self.waiting: dict[str, AsyncResult[bytes]] = {}
        declared: Any = AsyncResult()
        ready: Any = AsyncResult()
        self.channel.queue_declare("", exclusive=True, callback=declared.set)
        self.replies = declared.get(timeout=TIMEOUT).method.queue
        self.channel.basic_consume(self.replies, self._on_reply, auto_ack=True, callback=ready.set)
        ready.get(timeout=TIMEOUT)

    def __call__(self, payload: Any) -> Any:
        """Call and wait; other greenlets run meanwhile."""
        call_id = str(uuid.uuid4())
        properties = pika.BasicProperties(reply_to=self.replies, correlation_id=call_id)
        answer: AsyncResult[bytes] = AsyncResult()
        self.waiting[call_id] = answer
        self.channel.basic_publish(EXCHANGE, self.queue, encoded(payload), properties)
        return decoded(answer.get() or b"")

    def _on_reply(self, _channel: Any, _method: Any, properties: Any, body: bytes) -> None:
        self.waiting.pop(properties.correlation_id).set(body)


open_caller = Caller


class ConfirmedPublisher:
    """Counts delivery tags and waits for each confirm, as pika's asynchronous example does."""

    def __init__(self, job: Job) -> None:
        self.channel, self.queue = channel_to(job.url), job.queue
        self.properties = kept(job)
        self.waiting: OrderedDict[int, Event] = OrderedDict()
        self.tags = itertools.count(1)
        ready: Any = AsyncResult()
        self.channel.confirm_delivery(self._on_confirm, callback=ready.set)
        ready.get(timeout=TIMEOUT)

    def __call__(self, payload: Any) -> None:
        """Publish and wait until the broker has taken it."""
        body = encoded(payload)
        self.waiting[next(self.tags)] = confirmed = Event()
        self.channel.basic_publish(EXCHANGE, self.queue, body, self.properties)
        confirmed.wait()

    def _on_confirm(self, frame: Any) -> None:
        tag = frame.method.delivery_tag
        if not frame.method.multiple:
            self.waiting.pop(tag).set()
            return
        while self.waiting and next(iter(self.waiting)) <= tag:
            self.waiting.popitem(last=False)[1].set()


def open_publisher(job: Job) -> Callable[[Any], None]:
    """Return a function for many greenlets."""
    if job.confirm:
        return ConfirmedPublisher(job)
    channel, properties, numbers = channel_to(job.url), kept(job), itertools.count(1)

    def publish(payload: Any) -> None:
        channel.basic_publish(EXCHANGE, job.queue, encoded(payload), properties)
        if next(numbers) % BREATH == 0:
            gevent.sleep(0)

    return publish


def consume(job: Job, handle: Callable[[Any], bool]) -> None:
    """Handle and acknowledge in the consumer's callback."""
    finished = Event()

    def on_message(channel: Any, method: Any, _properties: Any, body: bytes) -> None:
        more = handle(decoded(body))
        channel.basic_ack(method.delivery_tag)
        if not more:
            finished.set()

    channel, closed = consuming(job, on_message), Event()
    finished.wait()
    channel.add_on_close_callback(lambda _channel, _reason: closed.set())
    channel.close()
    closed.wait(TIMEOUT)
