"""The counted parts of a contestant, played one after another in one process."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from benchmarks.actor import Actor, acting
from benchmarks.broker import broker
from benchmarks.clocks import Clock
from benchmarks.contestants import CONTESTANTS, TYPED_CONTESTANTS
from benchmarks.job import Job
from benchmarks.queue import Queue

TIMEOUT = 300.0
"""Seconds that a process may be silent: valgrind is slow, and the machine may be busy."""
WARM_UP = 100
"""Operations before the counted ones, which fill caches and let the interpreter specialize."""

Costs = Mapping[str, float]
"""The cost of an operation, by the title of its part."""


class Part(NamedTuple):
    """A role, and the title of its line; a role without title is played for the others."""

    role: str
    queue: str
    title: str | None = None
    callers: int = 1
    confirm: bool = False

    def job(self, peer: str, url: str, operations: int) -> Job:
        """Return the job of the process of *peer*."""
        return Job(
            peer=peer,
            style=(CONTESTANTS | TYPED_CONTESTANTS)[peer].style,
            role=self.role,
            url=url,
            queue=self.queue,
            callers=self.callers,
            seconds=TIMEOUT,
            operations=operations,
            warm_up=0.0 if self.role == "fill" else TIMEOUT,
            most_warm_up=WARM_UP,
            confirm=self.confirm,
        )


PARTS = (
    Part("fill", "taken"),
    Part("publish", "kept", "publish"),
    # One at a time: pika writes in pieces, and how many the broker confirms together is chance.
    Part("publish", "kept", "publish with confirm", confirm=True),
    Part("consume", "taken", "consume, acknowledged after the handler"),
    Part("serve", "called"),
    Part("call", "called", "RPC, 1 caller, both ends"),
    Part("call", "called", "RPC, 20 callers, both ends", callers=20),
)
"""In the order in which they are played."""
TYPED_PARTS = (
    Part("serve", "called"),
    Part("call", "called", "RPC with types, 1 caller, both ends"),
    Part("call", "called", "RPC with types, 20 callers, both ends", callers=20),
)
"""Those of a typed service, compared with the classic API."""


def costs(peer: str, kind: type[Clock], parts: Sequence[Part] = PARTS) -> Costs:
    """Return the cost of an operation of *peer* for each part; blocks the thread."""
    with broker("embedded") as target, TemporaryDirectory() as folder:
        _prepare(target.url, parts)
        clock = kind(Path(folder))
        jobs = [part.job(peer, target.url, clock.operations).as_json() for part in parts]
        words = [sys.executable, "-m", "benchmarks.counted", *jobs]
        with acting(clock.command(words), TIMEOUT) as actor:
            return _played(actor, clock, parts)


def _prepare(url: str, parts: Sequence[Part]) -> None:
    """Declare all queues, so that calls wait in theirs until they are served."""
    for name in {part.queue for part in parts}:
        queue = Queue(url, name)
        queue.prepare(durable=True)
        queue.close()


def _played(actor: Actor, clock: Clock, parts: Sequence[Part]) -> Costs:
    """Let *actor* play all parts; each is counted from its first report to its second."""
    told, mark = dict[str, float](), 0
    for part in [part for part in parts if part.role != "serve"]:
        actor.report()
        before = clock.read(actor, mark + 1)
        _go_on(actor, part)
        count = actor.report()["count"]
        mark += 2
        if part.title:
            told[part.title] = (clock.read(actor, mark) - before) / count
        _go_on(actor, part)
    return told


def _go_on(actor: Actor, part: Part) -> None:
    if part.role != "consume":  # it waits for nothing
        actor.go_on()
