"""What many processes ask of RabbitMQ: each runs a service, and calls another one."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, fields

from benchmarks.actor import Actor, acting
from benchmarks.measure import resident
from postage.testing.rabbitmq import RabbitMQNode

TIMEOUT = 120.0
"""Seconds that a process may take to start beside many others."""
BATCH = 10
"""Processes that start at once."""
SETTLING = 5.0
"""Seconds until the broker has collected its garbage, and its memory is read."""
PARTS = ("connection_", "queue_", "quorum_", "mnesia", "metadata_", "plugins")
"""How the names of parts of a node's memory begin that grow with its clients.  The resident memory
of its process also has what Erlang keeps in reserve, which may shrink while clients come."""


@dataclass(frozen=True)
class Asked:
    """What RabbitMQ has, for all clients together."""

    connections: int
    channels: int
    consumers: int
    queues: int
    bindings: int
    erlang_processes: int
    memory: int
    """Bytes that the node says it has for `PARTS`."""

    def __sub__(self, other: Asked) -> Asked:
        """Return what this has more than *other*."""
        mine, theirs = ([getattr(each, one.name) for one in fields(self)] for each in (self, other))
        return Asked(*(new - old for new, old in zip(mine, theirs, strict=True)))


def asked(node: RabbitMQNode) -> Asked:
    """Return what *node* has now."""

    def rows(what: str) -> int:
        return len(json.loads(node.ctl(f"list_{what}", "--formatter", "json")))

    status = json.loads(node.ctl("status", "--formatter", "json"))
    memory = [size for part, size in status["memory"].items() if part.startswith(PARTS)]
    return Asked(
        *map(rows, ("connections", "channels", "consumers", "queues", "bindings")),
        erlang_processes=status["processes"]["used"],
        memory=sum(memory),
    )


@contextmanager
def deployment(url: str, processes: int) -> Iterator[list[Actor]]:
    """Run so many *processes*; each has called its neighbour when the block begins."""
    with ExitStack() as stack:
        actors: list[Actor] = []
        for first in range(0, processes, BATCH):
            numbers = range(first, min(first + BATCH, processes))
            words = [
                [sys.executable, "-m", "benchmarks.scaling.member", url, str(number)]
                for number in numbers
            ]
            batch = [stack.enter_context(acting(each, TIMEOUT)) for each in words]
            for each in batch:
                each.report()
            actors += batch
        for number, each in enumerate(actors):
            each.go_on(str((number + 1) % processes))
            each.report()
        yield actors


def asked_by(node: RabbitMQNode, url: str, processes: int) -> tuple[Asked, float]:
    """Return what so many *processes* ask of *node*, and the bytes of memory that each has."""
    before = asked(node)
    with deployment(url, processes) as actors:
        time.sleep(SETTLING)
        own = sum(resident(each.pid) for each in actors) / processes
        return asked(node) - before, own
