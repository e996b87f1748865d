"""aio-pika, as the RabbitMQ tutorials of its documentation use it, on uvloop."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

import aio_pika
from aio_pika import DeliveryMode, Message

from benchmarks.job import EXCHANGE, PREFETCH, Job
from benchmarks.payload import decoded, encoded


async def channel_to(job: Job, *, confirms: bool = False) -> Any:
    """Connect and return a channel."""
    connection = await aio_pika.connect_robust(job.url)
    channel = await connection.channel(publisher_confirms=confirms)
    await channel.set_qos(prefetch_count=PREFETCH)
    return channel


async def serve(job: Job) -> None:
    """Answer requests in the consumer's callback."""
    channel = await channel_to(job)

    async def on_request(message: Any) -> None:
        async with message.process():
            if job.pause:
                await asyncio.sleep(job.pause)
            answer = Message(encoded(decoded(message.body)), correlation_id=message.correlation_id)
            await channel.default_exchange.publish(answer, message.reply_to)

    await (await channel.get_queue(job.queue)).consume(on_request)
    await asyncio.Future()


async def open_caller(job: Job) -> Callable[[Any], Awaitable[Any]]:
    """Return the tutorial's client: futures by correlation id."""
    channel = await channel_to(job)
    exchange = await channel.get_exchange(EXCHANGE)
    replies = await channel.declare_queue(exclusive=True)
    futures: dict[str, asyncio.Future[bytes]] = {}

    async def on_reply(message: Any) -> None:
        futures.pop(message.correlation_id).set_result(message.body)

    async def call(payload: Any) -> Any:
        call_id = str(uuid.uuid4())
        futures[call_id] = future = asyncio.get_running_loop().create_future()
        request = Message(encoded(payload), correlation_id=call_id, reply_to=replies.name)
        await exchange.publish(request, job.queue)
        return decoded(await future)

    await replies.consume(on_reply, no_ack=True)
    return call


async def open_publisher(job: Job) -> Callable[[Any], Awaitable[None]]:
    """Return ``exchange.publish``."""
    channel = await channel_to(job, confirms=job.confirm)
    exchange = await channel.get_exchange(EXCHANGE)
    mode = DeliveryMode.PERSISTENT if job.persistent else DeliveryMode.NOT_PERSISTENT

    async def publish(payload: Any) -> None:
        await exchange.publish(Message(encoded(payload), delivery_mode=mode), job.queue)

    return publish


async def consume(job: Job, handle: Callable[[Any], bool]) -> None:
    """Handle and acknowledge in the consumer's callback."""
    finished = asyncio.Event()
    channel = await channel_to(job)

    async def on_message(message: Any) -> None:
        async with message.process():
            if not handle(decoded(message.body)):
                finished.set()

    await (await channel.get_queue(job.queue)).consume(on_message)
    await finished.wait()
    await channel.close()
