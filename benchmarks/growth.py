"""The cost of the n-th pending call, processor or binding, from one to very many.

Every number has a process of its own (`benchmarks.growing`).  Routing and deleting are measured
from here, by a client that costs next to nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.broker import Target, broker
from benchmarks.families import FAMILIES, Family, Found
from benchmarks.lines import lines
from benchmarks.machine import machine
from benchmarks.report import written_into
from benchmarks.series import Point, Series, median
from benchmarks.table import markdown

FEW = 10
"""A call with this number is compared with a call with the largest number."""


@dataclass
class Grown:
    """The results of one family, by number, in every round."""

    family: Family
    found: dict[int, list[Found]] = field(default_factory=lambda: defaultdict(list))

    @property
    def series(self) -> list[Series]:
        """The lines, of medians."""
        return [Series(title, self._points(name)) for name, title in self.family.lines.items()]

    def _points(self, name: str) -> list[Point]:
        every = {
            count: [Point(count, *one.costs[name]) for one in rounds if name in one.costs]
            for count, rounds in self.found.items()
        }
        return [median(points) for points in every.values() if points]

    def figure(self, name: str, count: int) -> float:
        """Return the least value of the rounds: other work on the machine can only add to it."""
        return min(one.figures[name] for one in self.found[count])

    def as_markdown(self) -> str:
        """Return a line for each number, and a line with the powers by which costs grow."""
        series, others = self.series, self.family.others
        head = [self.family.counted, *(each.title for each in series)]
        rows = [
            [f"{count:,}", *(_cell(each, count) for each in series), *self._others(count)]
            for count in self.found
        ]
        powers = ["grows by the power of", *map(_power, series)]
        table = markdown([[*head, *(heading for heading, _ in others.values())], *rows, powers])
        return f"### {self.family.title}\n\n{table}"

    def compared(self) -> str:
        """Return the time of a call with very many others, and with ten others."""
        few, many = FEW if FEW in self.found else min(self.found), max(self.found)
        p50, p99 = (self.figure(name, many) / self.figure(name, few) for name in ("p50", "p99"))
        return (
            f"- a call with {many:,} {self.family.counted}, beside one with {few}: {p50:.2f} times"
            f" as long (p50), {p99:.2f} times (p99)"
        )

    def _others(self, count: int) -> list[str]:
        return [
            f"{self.figure(name, count) / unit:.2f}"
            for name, (_, unit) in self.family.others.items()
        ]

    def as_dict(self) -> dict[str, Any]:
        """Return every figure of every round."""
        rounds = {count: [vars(one) for one in rounds] for count, rounds in self.found.items()}
        powers = {each.title: each.exponent for each in self.series}
        return {"title": self.family.title, "powers": powers, "rounds": rounds}


def _cell(series: Series, count: int) -> str:
    point = next((each for each in series.points if each.count == count), None)
    if point is None:
        return ""
    return f"{point.each:,.1f}" + (f" ({point.each_wall:,.0f})" if point.wall else "")


def _power(series: Series) -> str:
    if series.exponent is None:
        return ""
    return f"**{series.exponent:.2f}**" if series.is_steeper else f"{series.exponent:.2f}"


def verdict(grown: Sequence[Grown]) -> str:
    """Return which lines are steeper than linear, and how much slower calls get beside many."""
    steeper = [each.title for one in grown for each in one.series if each.is_steeper]
    told = f"- steeper than linear: {', '.join(steeper) or 'none'}"
    return "\n".join([told, *(each.compared() for each in grown if "p99" in each.family.others)])


def grow(target: Target, families: Sequence[Family], most: int, rounds: int) -> list[Grown]:
    """Measure each of *families* up to *most*, *rounds* times."""
    grown = [Grown(family) for family in families]
    for number in range(1, rounds + 1):
        for one in grown:
            for count in (each for each in one.family.counts if each <= most):
                name, since = f"{os.getpid()}-{time.monotonic_ns()}", time.perf_counter()
                found = one.family.measure(target, f"postage-benchmark-{name}", count)
                one.found[count].append(found)
                told = f"{count:,} took {time.perf_counter() - since:.1f} s"
                print(f"{one.family.title}, round {number}: {told}", file=sys.stderr)
    return grown


def arguments(given: Sequence[str]) -> argparse.Namespace:
    """Return what *given* says."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks growth", description=__doc__)
    parser.add_argument(
        "families", nargs="*", choices=[*FAMILIES, []], help=f"of {', '.join(FAMILIES)}"
    )
    parser.add_argument("--broker", default="rabbitmq", help="or embedded, or a URL (%(default)s)")
    parser.add_argument("--most", type=int, default=100_000, help="largest number (%(default)s)")
    parser.add_argument("--rounds", type=int, default=1, help="of all (%(default)s)")
    parser.add_argument("--json", action="store_true", help="print JSON, with every round")
    parser.add_argument("--plot", metavar="FILE.svg", type=Path, help="draw a line for each cost")
    parser.add_argument(
        "--write", metavar="FILE.md", type=Path, help="put the tables between the marks in it"
    )
    return parser.parse_args(given)


def main(given: Sequence[str]) -> None:
    """Measure, and print."""
    args = arguments(given)
    families = [FAMILIES[name] for name in args.families or FAMILIES]
    with broker(args.broker) as target:
        grown = grow(target, families, args.most, args.rounds)
    where = {**machine(), "broker": f"{target.title}, on the same machine"}
    told = "\n".join([verdict(grown), *(f"- {name}: {what}" for name, what in where.items())])
    parts = [*(one.as_markdown() for one in grown), told]
    markdown_ = "\n\n".join(parts)
    print(json.dumps([one.as_dict() for one in grown], indent=1) if args.json else markdown_)
    if args.plot:
        args.plot.write_text(
            lines({one.family.title: (one.family.counted, one.series) for one in grown})
        )
        markdown_ = f"![The cost of each by their number]({args.plot.name})\n\n{markdown_}"
    if args.write:
        written_into(args.write, f"growth --broker {args.broker}", markdown_)
