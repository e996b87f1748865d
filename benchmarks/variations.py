"""The cost of each default of Postage: the same work, with one default changed at a time."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from benchmarks.contestants import CONTESTANTS, OURS, PIKA
from benchmarks.measure import Figures
from benchmarks.medians import median, span
from benchmarks.rounds import Round
from benchmarks.table import markdown, written
from benchmarks.workloads import WORKLOADS


@dataclass(frozen=True)
class Variation:
    """One line of the table: a workload, and what differs from the default."""

    title: str
    workload: str
    changes: dict[str, object] = field(default_factory=dict)
    """Fields of `Round` with other values."""
    packages: Sequence[str] = CONTESTANTS[OURS].packages
    """The packages that are installed beside Postage."""


STANDARD = "JSON by the standard library: without `fast`"

VARIATIONS = (
    Variation("publish, 100 greenlets: the defaults", "confirm"),
    Variation("transient messages: `delivery_mode = 1`", "confirm", {"persistent": False}),
    Variation("not confirmed: `confirm = False`", "publish"),
    Variation("not confirmed, and transient", "publish", {"persistent": False}),
    Variation(STANDARD, "confirm", packages=PIKA),
    Variation("consume: the defaults", "consume"),
    Variation("one at a time: `concurrency = 1`", "consume", {"concurrency": 1}),
    Variation("transient messages", "consume", {"persistent": False}),
    Variation(STANDARD, "consume", packages=PIKA),
    Variation("RPC, 1 caller: the defaults", "rpc"),
    Variation("the caller's hub never sleeps", "rpc", {"polling": True}),
    Variation(STANDARD, "rpc", packages=PIKA),
    Variation("RPC, 100 callers: the defaults", "rpc100"),
    Variation("one at a time: `concurrency = 1`", "rpc100", {"concurrency": 1}),
    Variation(STANDARD, "rpc100", packages=PIKA),
)
FIGURES = ("rate", "client", "server", "broker")


def compare(each: Round, rounds: int) -> str:
    """Return a table with one line for each of `VARIATIONS`, measured in turns."""
    found: list[list[Figures]] = [[] for _ in VARIATIONS]
    for number in range(1, rounds + 1):
        for variation, figures in zip(VARIATIONS, found, strict=True):
            figures.append(_measured(each, variation))
            print(f"{variation.title}, round {number}: {figures[-1].rate:,.0f}/s", file=sys.stderr)
    head = ["", "per second", "min-max", "client µs", "server µs", "broker µs"]
    return markdown([head, *map(_row, VARIATIONS, found)])


def _measured(each: Round, variation: Variation) -> Figures:
    changed = replace(each, **variation.changes)  # type: ignore[arg-type]  # their names are its
    contestant = replace(CONTESTANTS[OURS], packages=variation.packages)
    return changed.run(WORKLOADS[variation.workload], contestant)


def _row(variation: Variation, rounds: list[Figures]) -> list[str]:
    key, *rest = FIGURES
    outer = "-".join(written(key, value) for value in span(rounds, key) or ())
    medians = [written(name, median(rounds, name)) for name in rest]
    return [variation.title, written(key, median(rounds, key)), outer, *medians]
