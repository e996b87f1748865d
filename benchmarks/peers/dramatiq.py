"""dramatiq in a patched process, like ``dramatiq-gevent``: actors and 100 worker greenlets.

It declares its own queue, which is durable, and its messages are always persistent.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import dramatiq
from dramatiq.brokers.rabbitmq import RabbitmqBroker
from gevent.event import Event

from benchmarks.job import PREFETCH, Job


def actor_of(job: Job, handle: Callable[[Any], None]) -> Any:
    """Return an actor of the queue of *job*."""
    broker = RabbitmqBroker(url=job.url, confirm_delivery=job.confirm)
    dramatiq.set_broker(broker)
    return dramatiq.actor(handle, actor_name="take", queue_name=job.queue)


def serve(job: Job) -> None:
    """Run the worker; only the start is measured, because calls have no answer."""
    consume(job, lambda _payload: True)


def open_publisher(job: Job) -> Callable[[Any], object]:
    """Return ``actor.send``; every greenlet gets a connection of its own."""
    send: Callable[[Any], object] = actor_of(job, lambda _payload: None).send
    return send


def consume(job: Job, handle: Callable[[Any], bool]) -> None:
    """Run the worker, which acknowledges after the actor, until *handle* has returned False."""
    finished = Event()

    def take(payload: Any) -> None:
        if not handle(payload):
            finished.set()

    actor = actor_of(job, take)
    worker = dramatiq.Worker(actor.broker, worker_threads=PREFETCH)
    worker.start()
    finished.wait()
    worker.stop()
