"""FastStream: a subscriber answers and handles, its broker requests and publishes, on uvloop."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from faststream.rabbit import Channel, RabbitBroker, RabbitExchange, RabbitQueue

from benchmarks.job import EXCHANGE, PREFETCH, Job

# Answers go to direct reply-to as mandatory messages, and RabbitMQ returns them although it
# delivers them.  A log line for each would distort the measurement.
logging.getLogger("aiormq").setLevel(logging.CRITICAL)


def broker_of(job: Job, **more: Any) -> Any:
    """Return a broker that logs nothing about single messages."""
    channel = Channel(prefetch_count=PREFETCH, publisher_confirms=job.confirm)
    return RabbitBroker(job.url, default_channel=channel, log_level=logging.DEBUG, **more)


def addressed_to(job: Job) -> tuple[Any, Any]:
    """Return queue and exchange, which exist already."""
    queue = RabbitQueue(job.queue, durable=job.persistent, routing_key=job.queue)
    return queue, RabbitExchange(EXCHANGE, durable=True)


async def serve(job: Job) -> None:
    """Answer requests with what a subscriber returns."""
    broker = broker_of(job)

    @broker.subscriber(*addressed_to(job))
    async def echo(payload: dict[str, Any]) -> dict[str, Any]:
        if job.pause:
            await asyncio.sleep(job.pause)
        return payload

    await broker.start()
    await asyncio.Future()


async def open_caller(job: Job) -> Callable[[Any], Awaitable[Any]]:
    """Return ``broker.request``, which has one call in flight at a time."""
    broker, (_, exchange) = broker_of(job), addressed_to(job)
    await broker.start()

    async def call(payload: Any) -> Any:
        answer = await broker.request(
            payload, exchange=exchange, routing_key=job.queue, timeout=60.0
        )
        return await answer.decode()

    return call


async def open_publisher(job: Job) -> Callable[[Any], Awaitable[None]]:
    """Return ``broker.publish``."""
    broker, (_, exchange) = broker_of(job), addressed_to(job)
    await broker.start()

    async def publish(payload: Any) -> None:
        await broker.publish(
            payload, exchange=exchange, routing_key=job.queue, persist=job.persistent
        )

    return publish


async def consume(job: Job, handle: Callable[[Any], bool]) -> None:
    """Handle messages with a subscriber, which acknowledges them after that."""
    broker, finished = broker_of(job), asyncio.Event()

    @broker.subscriber(*addressed_to(job))
    async def take(payload: dict[str, Any]) -> None:
        if not handle(payload):
            finished.set()

    await broker.start()
    await finished.wait()
    await broker.stop()
