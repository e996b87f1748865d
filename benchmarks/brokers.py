"""The embedded broker compared with RabbitMQ: rates of both, and costs of the embedded one.

Both run at the same time, each in processes of its own, and take turns.
"""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
from collections import defaultdict

from benchmarks.broker import URL, embedded
from benchmarks.contestants import CONTESTANTS, OURS
from benchmarks.echo import Echo
from benchmarks.measure import resident
from benchmarks.rounds import Round
from benchmarks.table import markdown
from benchmarks.wire import BODY, Wire, hear_nothing
from benchmarks.workloads import WORKLOADS
from postage.testing.rabbitmq import RabbitMQNode

QUEUE = "postage-benchmark-broker"
CALLERS = 100
IDLE = 1000
BURSTS = 5
"""How often a round fills the queue and empties it."""
IN_PROCESS = """
import time
from postage.broker import Broker, BrokerThread
for kind in (Broker, BrokerThread):
    since = time.perf_counter()
    broker = kind()
    broker.start()
    print((time.perf_counter() - since) * 1e3)
    broker.stop()
"""

Rates = dict[str, dict[str, list[float]]]


def one_round(port: int, count: int, seconds: float) -> dict[str, float]:
    """Return the rates of the broker on *port*."""
    bursts = [_burst(port, count) for _ in range(BURSTS)]
    published, delivered = (len(bursts) * count / sum(each) for each in zip(*bursts, strict=True))
    echo = Echo(port, QUEUE, CALLERS)
    answered = echo.run(seconds)
    echo.close()
    each = Round(URL.format(port), seconds=seconds)
    called = each.run(WORKLOADS["rpc100"], CONTESTANTS[OURS]).rate or 0.0
    return {
        "publish": published,
        "deliver + ack": delivered,
        f"RPC, {CALLERS} callers": answered,
        f"RPC of Postage, {CALLERS} callers": called,
    }


def _burst(port: int, count: int) -> tuple[float, float]:
    """Fill a queue and empty it; return the seconds for each."""
    wire = Wire(port, QUEUE)
    seconds = wire.publish(count), wire.consume(count)
    wire.close()
    Wire(port, QUEUE).delete()
    return seconds


def interleaved(ports: dict[str, int], rounds: int, count: int, seconds: float) -> Rates:
    """Return the rates of every round: A B, A B, so that all share bad moments."""
    rates: Rates = defaultdict(lambda: defaultdict(list))
    for number in range(1, rounds + 1):
        for name, port in ports.items():
            for what, each in one_round(port, count, seconds).items():
                rates[what][name].append(each)
                print(f"round {number}: {name}: {what} {each:,.0f}/s", file=sys.stderr)
    return rates


def rates_table(rates: Rates) -> str:
    """Return the medians as a table in markdown."""
    rows = [["per second", "embedded", "RabbitMQ", "ratio"]]
    for what, by_name in rates.items():
        ours, theirs = (statistics.median(by_name[name]) for name in ("embedded", "RabbitMQ"))
        rows.append([what, f"{ours:,.0f}", f"{theirs:,.0f}", f"{ours / theirs:.2f}"])
    return markdown(rows)


def costs_table(count: int) -> str:
    """Return a table of the embedded broker's start-up time and memory."""
    printed = subprocess.check_output([sys.executable, "-c", IN_PROCESS], text=True)
    greenlets, thread = map(float, printed.split())
    starts = []
    for _ in range(5):
        with embedded() as (port, pid, seconds):
            starts.append(seconds)
            empty = resident(pid)
    with embedded() as (port, pid, _):
        queued = _queued(port, pid, count)
    with embedded() as (port, pid, _):
        idle = _idle(port, pid)
    return markdown(
        [
            ["", ""],
            ["ready as a process", f"{statistics.median(starts):.2f} s"],
            ["ready in process", f"{greenlets:.1f} ms"],
            ["ready in a thread of its own", f"{thread:.1f} ms"],
            ["memory when empty", f"{empty / 1e6:.0f} MB"],
            [f"a queued message of {len(BODY)} bytes", f"{queued:.0f} bytes"],
            [f"{IDLE:,} idle connections", f"{idle / 1e6:.0f} MB in all"],
        ]
    )


def _queued(port: int, pid: int, count: int) -> float:
    wire = Wire(port, QUEUE)
    wire.publish(100)
    before = resident(pid)
    wire.publish(count)
    return (resident(pid) - before) / count


def _idle(port: int, pid: int) -> int:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, 2 * IDLE + 100), most))
    wires = [Wire(port, QUEUE) for _ in range(IDLE)]
    size = resident(pid)
    assert hear_nothing(wires), "some were not left alone"
    for wire in wires:
        wire.close()
    return size


def run(rounds: int, count: int, seconds: float) -> str:
    """Measure, and return tables."""
    with embedded() as (port, _, _), RabbitMQNode() as node:
        ports = {"embedded": port, "RabbitMQ": node.port}
        rates = rates_table(interleaved(ports, rounds, count, seconds))
    return f"{rates}\n\n{costs_table(count)}"
