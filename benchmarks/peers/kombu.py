"""kombu (over py-amqp) in a patched process: its mixins consume, its pools publish."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from typing import Any

import gevent
from gevent.event import AsyncResult, Event
from kombu import Connection, Queue, pools
from kombu.mixins import ConsumerMixin, ConsumerProducerMixin

from benchmarks.job import EXCHANGE, PREFETCH, Job


def connection_to(job: Job) -> Connection:
    """Return a connection, made when it is used; kombu waits for each confirm by itself."""
    return Connection(job.url, transport_options={"confirm_publish": job.confirm})


class Server(ConsumerProducerMixin):
    """The documentation's worker with replies."""

    def __init__(self, job: Job) -> None:
        self.connection, self.job = connection_to(job), job

    def get_consumers(self, consumer: Any, _channel: Any) -> list[Any]:
        """Return what to consume."""
        queue = Queue(self.job.queue, no_declare=True)
        return [consumer([queue], callbacks=[self.on_request], prefetch_count=PREFETCH)]

    def on_request(self, body: Any, message: Any) -> None:
        """Answer."""
        if self.job.pause:
            time.sleep(self.job.pause)
        self.producer.publish(
            body,
            routing_key=message.properties["reply_to"],
            correlation_id=message.properties["correlation_id"],
            delivery_mode=1,
        )
        message.ack()


def serve(job: Job) -> None:
    """Answer requests one by one."""
    Server(job).run()


class Caller(ConsumerMixin):
    """One greenlet consumes the replies; requests go out through the pool of producers."""

    def __init__(self, job: Job) -> None:
        pools.set_limit(job.callers)
        self.connection, self.job = connection_to(job), job
        self.replies = Queue(str(uuid.uuid4()), exclusive=True, auto_delete=True)
        self.waiting: dict[str, AsyncResult[Any]] = {}
        self.producers = pools.producers[connection_to(job)]
        self.ready = Event()
        gevent.spawn(self.run)
        self.ready.wait(10.0)

    def get_consumers(self, consumer: Any, _channel: Any) -> list[Any]:
        """Return what to consume."""
        return [consumer([self.replies], callbacks=[self.on_reply], no_ack=True)]

    def on_consume_ready(self, *_args: Any, **_options: Any) -> None:
        """Let calls begin."""
        self.ready.set()

    def on_reply(self, body: Any, message: Any) -> None:
        """Wake the caller."""
        self.waiting.pop(message.properties["correlation_id"]).set(body)

    def __call__(self, payload: Any) -> Any:
        """Call and wait; other greenlets run meanwhile."""
        call_id, answer = str(uuid.uuid4()), AsyncResult()
        self.waiting[call_id] = answer
        with self.producers.acquire(block=True) as producer:
            producer.publish(
                payload,
                exchange=EXCHANGE,
                routing_key=self.job.queue,
                reply_to=self.replies.name,
                correlation_id=call_id,
                delivery_mode=1,
            )
        return answer.get()


open_caller = Caller


def open_publisher(job: Job) -> Callable[[Any], None]:
    """Return a function for many greenlets, each with a producer of the pool while it publishes."""
    pools.set_limit(job.callers)
    producers = pools.producers[connection_to(job)]
    mode = 2 if job.persistent else 1

    def publish(payload: Any) -> None:
        with producers.acquire(block=True) as producer:
            producer.publish(payload, exchange=EXCHANGE, routing_key=job.queue, delivery_mode=mode)

    return publish


class Consumer(ConsumerMixin):
    """The documentation's worker."""

    def __init__(self, job: Job, handle: Callable[[Any], bool]) -> None:
        self.connection, self.job, self.handle = connection_to(job), job, handle

    def get_consumers(self, consumer: Any, _channel: Any) -> list[Any]:
        """Return what to consume."""
        queue = Queue(self.job.queue, no_declare=True)
        return [consumer([queue], callbacks=[self.on_message], prefetch_count=PREFETCH)]

    def on_message(self, body: Any, message: Any) -> None:
        """Handle and acknowledge."""
        more = self.handle(body)
        message.ack()
        self.should_stop = not more


def consume(job: Job, handle: Callable[[Any], bool]) -> None:
    """Handle messages one by one."""
    Consumer(job, handle).run()
