"""Many components in one process: the time until all answer, and the cost of each.

Postage is compared with a bare program on pika, in turns, each in a process of its own.  This
process calls each component once, through `benchmarks.calls`, as soon as its queue exists.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks.broker import Target, broker
from benchmarks.calls import Calls
from benchmarks.measure import cpu_seconds, resident
from postage.testing.processes import end, orphan_proof

FLEETS = {"with_postage": "Postage", "with_pika": "GeventConnection, one channel"}
COUNTS = (500, 1000)


@dataclass(frozen=True)
class Figures:
    """The figures of one fleet."""

    declared: float
    """Seconds from the start of its process until all its queues existed."""
    answered: float
    """Seconds from the start of its process until each component had answered a call."""
    cpu: float
    """Seconds of CPU time of the process until then."""
    connections: float
    """TCP connections of the process to the broker."""
    memory: float
    """Resident memory of the process then, in bytes."""
    broker: float
    """How much the broker's resident memory has grown until then, in bytes."""


def measured(target: Target, fleet: str, count: int) -> Figures:
    """Start *fleet* with *count* components, call each of them, and end it."""
    port = urlsplit(target.url).port or 0
    assert target.pid is not None, "the broker is ours"
    name = f"postage-benchmark-{os.getpid()}-{time.monotonic_ns()}"
    calls = Calls(port, [f"{name}-{number}" for number in range(count)])
    before = resident(target.pid)
    command = [sys.executable, "-m", f"benchmarks.fleets.{fleet}", target.url, name, str(count)]
    since = time.perf_counter()
    process = subprocess.Popen(orphan_proof(command), stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        if process.stdout.readline() != b"declared\n":
            raise RuntimeError(f"{command} did not start")
        declared = time.perf_counter() - since
        calls.make()
        answered = time.perf_counter() - since
        cpu = cpu_seconds(process.pid)
        connections = connected(process.pid, port)
        memory, grown = resident(process.pid), resident(target.pid) - before
    finally:
        end(process, within=60)
        calls.clean()
    return Figures(declared, answered, cpu, connections, memory, grown)


def connected(pid: int, port: int) -> int:
    """Return how many TCP connections the process *pid* has to *port*."""
    theirs = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            theirs.add(str(entry.readlink()))
    lines = Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]
    rows = [line.split() for line in lines]
    return sum(
        row[2].endswith(f":{port:04X}") and row[3] == "01" and f"socket:[{row[9]}]" in theirs
        for row in rows
    )


def median(rounds: Sequence[Figures]) -> Figures:
    """Return the median of each figure."""
    return Figures(*map(statistics.median, zip(*map(astuple, rounds), strict=True)))


def interleaved(
    target: Target, fleets: Sequence[str], counts: Sequence[int], rounds: int
) -> dict[tuple[str, int], list[Figures]]:
    """Return the figures of every round, by fleet and count: A B, A B, so all share bad moments."""
    results: dict[tuple[str, int], list[Figures]] = defaultdict(list)
    for number in range(1, rounds + 1):
        for count in (1, *counts):
            for fleet in fleets:
                figures = measured(target, fleet, count)
                results[fleet, count].append(figures)
                told = f"{count} of {FLEETS[fleet]}: all answered in {figures.answered:.2f} s"
                print(f"round {number}: {told}", file=sys.stderr)
    return results


def print_table(results: dict[tuple[str, int], list[Figures]]) -> None:
    """Print the medians, with the fastest and the slowest round, as a table in markdown."""
    print("| components | | all answer after s | queues declared s | CPU s | connections |", end="")
    print(" memory each KB | broker's memory each KB |")
    print("|---:|---|---:|---:|---:|---:|---:|---:|")
    for (fleet, count), rounds in results.items():
        if count == 1:
            continue
        one, many = median(results[fleet, 1]), median(rounds)
        seconds = [figures.answered for figures in rounds]
        cells = (
            f"{count:,}",
            FLEETS[fleet],
            f"{many.answered:.2f} ({min(seconds):.2f}-{max(seconds):.2f})",
            f"{many.declared:.2f}",
            f"{many.cpu:.2f}",
            f"{many.connections:.0f}",
            f"{(many.memory - one.memory) / (count - 1) / 1024:.1f}",
            f"{(many.broker - one.broker) / (count - 1) / 1024:.1f}",
        )
        print(f"| {' | '.join(cells)} |")


def main(arguments: Sequence[str]) -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks components", description=__doc__)
    parser.add_argument(
        "--counts",
        type=lambda text: [int(part) for part in text.split(",")],
        default=list(COUNTS),
        help="components in a process, as 500,1000",
    )
    parser.add_argument("--rounds", type=int, default=3, help="of all (%(default)s)")
    parser.add_argument("--broker", choices=("rabbitmq", "embedded"), default="rabbitmq")
    parser.add_argument(
        "--fleets", nargs="+", choices=FLEETS, default=list(FLEETS), help="only these"
    )
    args = parser.parse_args(arguments)
    with broker(args.broker) as target:
        print_table(interleaved(target, args.fleets, args.counts, args.rounds))
