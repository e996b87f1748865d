"""FastStream with types: a model of pydantic as the answer, made again by the caller."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from pydantic import BaseModel

from benchmarks.job import Job
from benchmarks.peers.faststream import broker_of
from benchmarks.peers.reserving import calling, serving


class Reservation(BaseModel):
    """What was reserved."""

    item: str
    count: int


async def serve(job: Job) -> None:
    """Answer requests with what a subscriber returns."""
    await serving(job, broker_of(job), Reservation)


async def open_caller(job: Job) -> Callable[[Any], Awaitable[Any]]:
    """Return ``broker.request`` of as many brokers as there are callers."""
    return await calling(job, broker_of, Reservation.model_validate)
