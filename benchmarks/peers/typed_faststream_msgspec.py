"""FastStream with its serializer for msgspec, in place of pydantic."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import msgspec
from fast_depends.msgspec import MsgSpecSerializer

from benchmarks.job import Job
from benchmarks.peers.faststream import broker_of
from benchmarks.peers.reserving import calling, serving


class Reservation(msgspec.Struct):
    """What was reserved."""

    item: str
    count: int


def _broker_of(job: Job) -> Any:
    return broker_of(job, serializer=MsgSpecSerializer())


async def serve(job: Job) -> None:
    """Answer requests with what a subscriber returns."""
    await serving(job, _broker_of(job), Reservation)


async def open_caller(job: Job) -> Callable[[Any], Awaitable[Any]]:
    """Return ``broker.request`` of as many brokers as there are callers."""
    return await calling(job, _broker_of, partial(msgspec.convert, type=Reservation))
