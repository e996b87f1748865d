"""What is measured of many of something: pending calls, processors, bindings."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from benchmarks.actor import acting
from benchmarks.broker import Target
from benchmarks.growing import Clock, Cost, Task
from benchmarks.routing import deletion, routing

TIMEOUT = 300.0
"""Seconds that a part of the work may take."""


@dataclass
class Found:
    """The results for one number of something: costs by the names of lines, and other figures."""

    costs: dict[str, Cost] = field(default_factory=dict)
    figures: dict[str, float] = field(default_factory=dict)

    def take(self, told: dict[str, Any]) -> None:
        """Add the report of a program."""
        self.costs |= told["costs"]
        self.figures |= told["figures"]


@dataclass(frozen=True)
class Family:
    """One table and one plot."""

    title: str
    counted: str
    counts: tuple[int, ...]
    lines: dict[str, str]
    """The titles of the lines, by the names of their costs."""
    others: dict[str, tuple[str, float]]
    """The headings of other figures by their names, and what they are divided by."""
    measure: Callable[[Target, str, int], Found]


def _program(target: Target, module: str, name: str, count: int, **pids: int) -> Any:
    ours = {} if target.pid is None else {"broker": target.pid}
    task = Task(target.url, name, count, ours | pids)
    return acting([sys.executable, "-m", f"benchmarks.growing.{module}", json.dumps(task)], TIMEOUT)


def calls(target: Target, name: str, count: int) -> Found:
    """Measure *count* pending calls in one process."""
    found = Found()
    with _program(target, "server", name, 1) as server:
        server.report()
        with _program(target, "calls", name, count, server=server.pid) as actor:
            found.take(actor.report())
    _delete(target, [name], found)
    return found


def processors(target: Target, name: str, count: int) -> Found:
    """Measure *count* processors in one process, and calls to one of them."""
    found = Found()
    with _program(target, "processors", name, count) as actor:
        found.take(actor.report())
        found.take(actor.report())
        with _program(target, "caller", name, count, server=actor.pid) as caller:
            found.take(caller.report())
        actor.go_on()
        found.take(actor.report())
    _delete(target, Task(target.url, name, count, {}).names, found)
    return found


def bindings(target: Target, name: str, count: int) -> Found:
    """Measure *count* bindings of a queue, *count* queues of a processor, and their routing."""
    found = Found()
    with _program(target, "bindings", name, count) as actor:
        found.take(actor.report())
    _delete(target, [name, f"{name}-all", *Task(target.url, name, count, {}).names], Found())
    if target.pid is not None:
        for kind in ("direct", "topic"):
            found.costs[kind] = routing(_port(target), Clock(target.pid), name, kind, count)
    return found


def _delete(target: Target, queues: Sequence[str], found: Found) -> None:
    clock = Clock(target.pid or os.getpid())
    deletion(_port(target), queues)
    if target.pid is not None:
        found.costs["deleted"] = clock.lap()


def _port(target: Target) -> int:
    return urlsplit(target.url).port or 5672


FAMILIES = {
    "calls": Family(
        "Pending calls",
        "calls that are pending at once",
        (1, 10, 100, 1_000, 10_000, 100_000),
        {
            "began": "begin one",
            "one more": "one more call beside them",
            "answered": "take its answer",
            "late": "give it up: no answer in time",
            "server answered": "server: answer it",
            "broker answered": "broker: the answer",
        },
        {"memory": ("KB each", 1e3), "p50": ("one more: p50 ms", 1.0)},
        calls,
    ),
    "processors": Family(
        "Processors",
        "processors in one process",
        (1, 10, 100, 1_000, 10_000),
        {
            "here begun": "make it, until it consumes",
            "idle": "idle, a second",
            "first call": "caller: first call to it",
            "server one of many": "answer a call to one of them",
            "broker one of many": "broker: a call to one of them",
            "here ended": "end it",
            "broker begun": "broker: make it",
            "deleted": "broker: delete its queue",
        },
        {"memory": ("KB each", 1e3), "p50": ("call p50 ms", 1.0), "p99": ("p99 ms", 1.0)},
        processors,
    ),
    "bindings": Family(
        "Bindings",
        "bindings",
        (1, 10, 100, 1_000, 10_000),
        {
            "here one by one": "bind one queue, one by one",
            "here at once": "bind one queue, all at once",
            "here queues": "a queue each, of one processor",
            "here ended": "end that processor",
            "broker one by one": "broker: one by one",
            "broker queues": "broker: a queue each",
            "direct": "broker: route, direct",
            "topic": "broker: route, topic",
        },
        {},
        bindings,
    ),
}
