"""pika's BlockingConnection without gevent, one operation at a time, as pika's examples use it."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import pika

from benchmarks.job import EXCHANGE, PREFETCH, Job
from benchmarks.payload import decoded, encoded


def channel_to(url: str) -> Any:
    """Connect and return a channel."""
    return pika.BlockingConnection(pika.URLParameters(url)).channel()


def kept(job: Job) -> Any:
    """Return the properties of a message that is published."""
    return pika.BasicProperties(delivery_mode=2 if job.persistent else 1)


def serve(job: Job) -> None:
    """Answer requests in the consumer's callback."""

    def on_request(channel: Any, method: Any, properties: Any, body: bytes) -> None:
        answer = encoded(decoded(body))
        channel.connection.sleep(job.pause)
        same_id = pika.BasicProperties(correlation_id=properties.correlation_id)
        channel.basic_publish("", properties.reply_to, answer, same_id)
        channel.basic_ack(method.delivery_tag)

    channel = channel_to(job.url)
    channel.basic_qos(prefetch_count=PREFETCH)
    channel.basic_consume(job.queue, on_request)
    channel.start_consuming()


class Caller:
    """The RPC client of the RabbitMQ tutorial: send, then process events until the answer came."""

    def __init__(self, job: Job) -> None:
        self.channel, self.queue = channel_to(job.url), job.queue
        self.replies = self.channel.queue_declare("", exclusive=True).method.queue
        self.channel.basic_consume(self.replies, self._on_reply, auto_ack=True)
        self.awaited, self.answer = "", b""

    def __call__(self, payload: Any) -> Any:
        """Call and wait."""
        self.awaited, self.answer = str(uuid.uuid4()), b""
        properties = pika.BasicProperties(reply_to=self.replies, correlation_id=self.awaited)
        self.channel.basic_publish(EXCHANGE, self.queue, encoded(payload), properties)
        while not self.answer:
            self.channel.connection.process_data_events(time_limit=None)
        return decoded(self.answer)

    def _on_reply(self, _channel: Any, _method: Any, properties: Any, body: bytes) -> None:
        if properties.correlation_id == self.awaited:
            self.answer = body


open_caller = Caller


def open_publisher(job: Job) -> Callable[[Any], object]:
    """Return ``basic_publish``; confirms, where wanted, are waited for one by one."""
    channel, properties = channel_to(job.url), kept(job)
    if job.confirm:
        channel.confirm_delivery()
    return lambda payload: channel.basic_publish(EXCHANGE, job.queue, encoded(payload), properties)


def consume(job: Job, handle: Callable[[Any], bool]) -> None:
    """Handle and acknowledge in the consumer's callback."""

    def on_message(channel: Any, method: Any, _properties: Any, body: bytes) -> None:
        more = handle(decoded(body))
        channel.basic_ack(method.delivery_tag)
        if not more:
            channel.stop_consuming()

    channel = channel_to(job.url)
    channel.basic_qos(prefetch_count=PREFETCH)
    channel.basic_consume(job.queue, on_message)
    channel.start_consuming()
    channel.connection.close()
