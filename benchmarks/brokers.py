"""The embedded broker beside RabbitMQ: what each does in a second, and what ours costs.

Both run at the same time, each in processes of its own, and take turns.
"""

from __future__ import annotations

import contextlib
import json
import resource
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from benchmarks.echo import Echo
from benchmarks.peers import PEERS
from benchmarks.rounds import Round
from benchmarks.wire import BODY, Wire, hear_nothing
from postage.testing.processes import end, orphan_proof
from postage.testing.rabbitmq import RabbitMQNode

QUEUE = "postage-benchmark-broker"
CALLERS = 100
IDLE = 1000
BURSTS = 5
"""How often a round fills the queue and empties it again."""
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


@contextlib.contextmanager
def embedded() -> Iterator[tuple[int, int, float]]:
    """Run ``postage broker``; give its port, its pid, and the seconds until it was ready."""
    command = [sys.executable, "-m", "postage", "broker", "--port", "0", "--json"]
    since = time.perf_counter()
    process = subprocess.Popen(orphan_proof(command), stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        told = json.loads(process.stdout.readline())
        yield told["port"], told["pid"], time.perf_counter() - since
    finally:
        end(process)


def rss(pid: int) -> int:
    """Return the resident memory of the process *pid* in bytes."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) * 1024


def one_round(port: int, count: int, seconds: float) -> dict[str, float]:
    """Return what the broker on *port* does in a second."""
    bursts = [_burst(port, count) for _ in range(BURSTS)]
    published, delivered = (len(bursts) * count / sum(each) for each in zip(*bursts, strict=True))
    echo = Echo(port, QUEUE, CALLERS)
    answered = echo.run(seconds)
    echo.close()
    each = Round(f"amqp://guest:guest@127.0.0.1:{port}/%2F", CALLERS, seconds)
    called = each.run("rpc", PEERS["postage_peer"]).rate
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


def print_rates(rates: Rates) -> None:
    """Print the medians as a table in markdown."""
    print("| per second | embedded | RabbitMQ | ratio |")
    print("|---|---:|---:|---:|")
    for what, by_name in rates.items():
        ours, theirs = (statistics.median(by_name[name]) for name in ("embedded", "RabbitMQ"))
        print(f"| {what} | {ours:,.0f} | {theirs:,.0f} | {ours / theirs:.2f} |")


def print_costs(count: int) -> None:
    """Print how fast a broker of ours starts, and how much memory what takes."""
    printed = subprocess.check_output([sys.executable, "-c", IN_PROCESS], text=True)
    greenlets, thread = map(float, printed.split())
    starts = []
    for _ in range(5):
        with embedded() as (port, pid, seconds):
            starts.append(seconds)
            empty = rss(pid)
    print(f"\nready as a process: {statistics.median(starts):.2f} s")
    print(f"ready in process: {greenlets:.1f} ms, in a thread of its own {thread:.1f} ms")
    print(f"memory when empty: {empty / 1e6:.1f} MB")
    with embedded() as (port, pid, _):
        print(f"a queued message with {len(BODY)} bytes: {_queued(port, pid, count):.0f} bytes")
    with embedded() as (port, pid, _):
        print(f"{IDLE} idle connections: {_idle(port, pid) / 1e6:.1f} MB in all")


def _queued(port: int, pid: int, count: int) -> float:
    wire = Wire(port, QUEUE)
    wire.publish(100)
    before = rss(pid)
    wire.publish(count)
    return (rss(pid) - before) / count


def _idle(port: int, pid: int) -> int:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, 2 * IDLE + 100), most))
    wires = [Wire(port, QUEUE) for _ in range(IDLE)]
    size = rss(pid)
    assert hear_nothing(wires), "some were not left alone"
    for wire in wires:
        wire.close()
    return size


def run(rounds: int, count: int, seconds: float) -> None:
    """Measure, and print."""
    with embedded() as (port, _, _), RabbitMQNode() as node:
        ports = {"embedded": port, "RabbitMQ": node.port}
        print_rates(interleaved(ports, rounds, count, seconds))
    print_costs(count)
