"""Beyond one process: calls over several processes, over a cluster, and what many processes need.

    python -m benchmarks scale --write docs/scaling.md         # about five minutes
    python -m benchmarks scale --processes 1,2 --seconds 1 --deployment 20 --rounds 1

The nodes of the cluster, the processes and the measuring process share one machine, so what they do
together is bounded by its processors: the column *busy* says how many of these they used.
"""

from __future__ import annotations

import argparse
import os
import statistics
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import astuple, fields
from pathlib import Path

from benchmarks.broker import URL, Target, product
from benchmarks.report import written_into
from benchmarks.scaling.crowd import CALLERS, Crowd, crowd
from benchmarks.scaling.deployment import Asked, asked_by
from benchmarks.table import markdown
from postage.testing.rabbitmq import RabbitMQNode
from postage.testing.rabbitmq_cluster import join

NODES = 3
BEYOND = (1_000, 10_000)
"""Processes for which needs are computed."""
HEADINGS = ("processes on each side", "calls/s", "p50 ms", "p99 ms")
COSTS = ("client µs", "server µs", "broker µs", "busy")


def main(arguments: Sequence[str]) -> None:
    """Measure, print tables, and perhaps write them."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks scale", description=__doc__)
    parser.add_argument(
        "--processes",
        type=lambda text: [int(part) for part in text.split(",")],
        default=[1, 2, 4],
        help="on each side, as 1,2,4",
    )
    parser.add_argument("--rounds", type=int, default=3, help="of each (%(default)s)")
    parser.add_argument("--seconds", type=float, default=5.0, help="of calling (%(default)s)")
    parser.add_argument(
        "--deployment", type=int, default=100, help="processes that run a service (%(default)s)"
    )
    parser.add_argument("--write", metavar="FILE.md", type=Path, help="put the tables there")
    args = parser.parse_args(arguments)
    text = "\n\n".join(sections(args))
    print(text)
    if args.write:
        written_into(args.write, "scale", text)


def sections(args: argparse.Namespace) -> Iterator[str]:
    """Yield what is printed: a heading and a table for each measurement."""
    with RabbitMQNode() as node:
        nodes = [target_of(node)]
        yield (
            f"On {nodes[0].title}, with {os.cpu_count()} processors for everything; "
            f"{CALLERS} callers in each process that calls; medians of {args.rounds} rounds."
        )
        yield "### One node, a durable queue\n\n" + crowds(nodes, args, "postage")
        asked, own = asked_by(node, nodes[0].url, args.deployment)
        yield "### What processes ask of RabbitMQ\n\n" + needs(asked, own, args.deployment)
    with cluster() as nodes:
        yield f"### {NODES} nodes, a quorum queue\n\n" + crowds(nodes, args, "postage_quorum")


def target_of(node: RabbitMQNode) -> Target:
    """Return how to reach *node*, and its process."""
    return Target(URL.format(node.port), product(node.port), node.pid)


@contextmanager
def cluster() -> Iterator[list[Target]]:
    """Start a cluster of `NODES` on this machine; give its nodes."""
    with ExitStack() as stack:
        nodes = [RabbitMQNode() for _ in range(NODES)]
        # The kernel ends a node with the thread that has started it: the pool lasts as long.
        pool = stack.enter_context(ThreadPoolExecutor(NODES))
        for node in nodes:
            stack.callback(node.close)
        join(nodes)
        list(pool.map(RabbitMQNode.start, nodes))
        nodes[0].ctl("await_online_nodes", str(NODES), within=60.0)
        yield [target_of(node) for node in nodes]


def crowds(nodes: Sequence[Target], args: argparse.Namespace, peer: str) -> str:
    """Return the table of calls for each number of processes."""
    rows = [[*HEADINGS, *COSTS]]
    for processes in args.processes:
        rounds = [crowd(nodes, processes, args.seconds, peer) for _ in range(args.rounds)]
        median = middle(rounds)
        rows.append(
            [
                str(median.processes),
                f"{median.rate:,.0f}",
                *(f"{each:.1f}" for each in (median.p50, median.p99)),
                *(f"{each:.0f}" for each in (median.client, median.server, median.broker)),
                f"{median.busy:.2f}",
            ]
        )
    return markdown(rows)


def middle(rounds: Sequence[Crowd]) -> Crowd:
    """Return the median of each figure."""
    values = {
        one.name: statistics.median(getattr(each, one.name) for each in rounds)
        for one in fields(Crowd)
    }
    return Crowd(**values)


def needs(asked: Asked, own: float, processes: int) -> str:
    """Return the table of what so many *processes* asked, each process, and what more would ask."""
    written: list[Callable[[float], str]] = [
        *[lambda value: f"{value:,.0f}"] * (len(fields(Asked)) - 1),
        lambda value: f"{value / 1e6:,.1f} MB",
    ]
    rows = [["", f"{processes} processes, measured", "each", *(f"{n:,}, computed" for n in BEYOND)]]
    for field, value, write in zip(fields(Asked), astuple(asked), written, strict=True):
        each = value / processes
        beyond = (write(each * number) for number in BEYOND)
        name = {"memory": "memory of the node"}.get(field.name, field.name.replace("_", " "))
        share = f"{each / 1e3:,.0f} kB" if field.name == "memory" else f"{each:.2f}"
        rows.append([name, write(value), share, *beyond])
    table = markdown(rows)
    return f"{table}\n\nEach process of Python has {own / 1e6:.0f} MB of its own."
