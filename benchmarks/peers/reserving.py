"""What FastStream's programs with types have in common, whichever library checks these."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from benchmarks.job import Job
from benchmarks.peers.faststream import addressed_to


async def serving(job: Job, broker: Any, reservation: Any) -> None:
    """Answer requests with a *reservation*, a class with the fields item and count."""

    async def reserve(item: str, count: int) -> Any:
        return reservation(item=item, count=count)

    reserve.__annotations__ = {"item": str, "count": int, "return": reservation}
    broker.subscriber(*addressed_to(job))(reserve)
    await broker.start()
    await asyncio.Future()


async def calling(
    job: Job, broker_of: Callable[[Job], Any], as_reservation: Callable[[Any], Any]
) -> Callable[[Any], Awaitable[Any]]:
    """Return a caller that has a broker for each call in flight, as each broker allows one.

    With 100 callers, this takes less processor time for a call than 5 or 20 brokers do.
    """
    _, exchange = addressed_to(job)
    free: asyncio.LifoQueue[Any] = asyncio.LifoQueue()
    for _ in range(job.callers):
        broker = broker_of(job)
        await broker.start()
        free.put_nowait(broker)

    async def call(payload: dict[str, Any]) -> Any:
        broker = await free.get()
        try:
            answer = await broker.request(
                {"item": "bolt", "count": payload["number"]},
                exchange=exchange,
                routing_key=job.queue,
                timeout=60.0,
            )
        finally:
            free.put_nowait(broker)
        reserved = as_reservation(await answer.decode())
        return payload if reserved.count == payload["number"] else reserved

    return call
