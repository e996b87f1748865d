"""What the console costs: 500 components in 10 processes, of which each is called by four others.

    python -m benchmarks.console --seconds 60
    python -m benchmarks.console --asking                     without the page

Each process runs its components, and calls those of others at a steady pace.  The processor time of
all processes is measured without a console, and then with one.
"""

from __future__ import annotations

import argparse
import itertools
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks.broker import broker
from postage.testing.processes import end, orphan_proof

CALLERS = 4
"""Components that call each component."""
QUEUE = "benchmark-console-{}"
TICKS = os.sysconf("SC_CLK_TCK")
ASKING = """
from postage.cli.console.poller import Poller
Poller().run()
"""
"""A console without a page: what asking alone costs."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, or be one of the processes with components."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--components", type=int, default=500)
    parser.add_argument("--processes", type=int, default=10)
    parser.add_argument("--calls", type=float, default=200, help="calls in a second, of all")
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--broker", default="embedded")
    parser.add_argument("--asking", action="store_true", help="only ask: serve no page")
    parser.add_argument("--be", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.be is None:
        measure(options)
    else:
        work(options)


def measure(options: argparse.Namespace) -> None:
    """Print what the console costs."""
    with broker(options.broker) as target, ExitStack() as stack:
        os.environ["POSTAGE_URL"] = target.url
        words = [
            f"--{each}={getattr(options, each)}" for each in ("components", "processes", "calls")
        ]
        fleet = [
            stack.enter_context(process("-m", "benchmarks.console", f"--be={number}", *words))
            for number in range(options.processes)
        ]
        for each in fleet:
            line(each)
        time.sleep(15)  # until each edge has had a call or two
        before = spent(fleet, options.seconds)
        command = ["-c", ASKING] if options.asking else ["-m", "postage", "web", "--port", "0"]
        console = stack.enter_context(process(*command))
        time.sleep(10)
        *after, own = spent([*fleet, console], options.seconds)
        grown = [
            (new - old) / (options.components / options.processes)
            for old, new in zip(before, after, strict=True)
        ]
        tell(f"the console's process: {own:.2%} of a processor")
        tell(f"each process of the fleet: {mean(before):.2%} without it, {mean(after):.2%} with it")
        tell(f"each component: {mean(grown):.4%} more")


def tell(text: str) -> None:
    """Print a line."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def mean(numbers: Sequence[float]) -> float:
    """Return the arithmetic mean."""
    return sum(numbers) / len(numbers)


@contextmanager
def process(*words: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run Python with these *words* while the block lasts."""
    command = orphan_proof([sys.executable, *words])
    with subprocess.Popen(command, stdout=subprocess.PIPE) as started:
        try:
            yield started
        finally:
            end(started)


def line(started: subprocess.Popen[bytes]) -> bytes:
    """Return the next line that the process prints."""
    assert started.stdout is not None
    return started.stdout.readline()


def spent(processes: Sequence[subprocess.Popen[bytes]], seconds: float) -> list[float]:
    """Return the share of a processor that each of *processes* takes within *seconds*."""
    before = [ticks(each.pid) for each in processes]
    time.sleep(seconds)
    after = [ticks(each.pid) for each in processes]
    return [(new - old) / TICKS / seconds for old, new in zip(before, after, strict=True)]


def ticks(pid: int) -> int:
    """Return the processor time of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def work(options: argparse.Namespace) -> None:
    """Run the components of one process, and let them call others."""
    from postage import green  # noqa: PLC0415 - the process that measures needs none of it

    green.patch_all()
    import gevent  # noqa: PLC0415 - after patching

    from postage import Exchange, Service, client, rpc  # noqa: PLC0415 - as above

    class LoadExchange(Exchange):
        name = "benchmark-console"

    def component(number: int) -> type[Service]:
        class Component(Service):
            exchange, queue = LoadExchange, QUEUE.format(number)

            @rpc
            def look(self) -> int:
                """Return a number."""
                return number

        return Component

    total = options.components
    own = range(options.be, total, options.processes)
    kinds = {number: component(number) for number in range(total)}
    running = [kinds[number]({"name": f"component-{number}"}) for number in own]
    with green.pipelined():
        for each in running:
            each.start()
    callers = [
        client(
            kinds[(number * 7 + step * 31 + 1) % total], fingerprint={"name": f"component-{number}"}
        )
        for number in own
        for step in range(CALLERS)
    ]
    tell("ready")
    pace = options.calls / options.processes
    began = time.monotonic()
    for count, each in enumerate(itertools.cycle(callers)):
        gevent.sleep(max(0.0, began + count / pace - time.monotonic()))
        gevent.spawn(call, each)


def call(there: object) -> None:
    """Call; one that is not there yet is called again later."""
    from postage import PostageError  # noqa: PLC0415 - as above

    try:
        there.look()  # type: ignore[attr-defined]  # a typed client has the methods of the service
    except PostageError as exc:
        sys.stderr.write(f"{exc}\n")


if __name__ == "__main__":
    main()
