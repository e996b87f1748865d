"""``python -m tests.faults.steady --minutes 30``: steady load, and what the process holds.

The exit code is 1 if memory, greenlets or sockets grow.  Components connect to the broker directly:
the proxy of the other fault tests is a thread of this process, with a heap of its own.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from statistics import fmean
from typing import NamedTuple

import gevent

from postage.testing.rabbitmq import RabbitMQNode
from tests.faults.fault_env import LOGINS, VHOSTS, FaultEnv, on_embedded, on_node
from tests.faults.fault_run import FaultRun
from tests.faults.growth import Growth
from tests.faults.load import Load, LoadSettings
from tests.faults.report import HARMLESS, violations
from tests.support.broker_commands import in_node_thread
from tests.support.measures import blocks, connections_to, greenlets, malloced, memory

LEVELS = 30
"""The number of parts of a run: one a minute in half an hour."""
LEVELS_PER_LINE = 5
SAMPLE_PAUSE = 5.0
"""Seconds between two samples; a run of a minute or two has one sample for each part."""
MIN_PAUSE = 0.1
"""Seconds that the load has for itself before each sample, however late the sample is."""
STALL = 0.5
"""Seconds for which `stall` blocks the hub: longer than any sender pauses."""


class Sample(NamedTuple):
    """What the process holds at one time, in seconds since the start; memory in bytes."""

    at: float
    memory: float
    malloced: float
    blocks: float
    greenlets: float
    sockets: float

    def __str__(self) -> str:
        return (
            f"{self.at / 60:6.1f} min  {self.memory / 1e6:7.3f} MB resident"
            f"  {self.malloced / 1e6:7.3f} MB of malloc  {self.blocks:7.0f} blocks"
            f"  {self.greenlets:4.0f} greenlets  {self.sockets:.0f} sockets"
        )


def stall(load: Load) -> None:
    """Block the hub three times, so that everything is due at once afterwards.

    A busy machine does so sooner or later.  What the process allocates then (another greenlet in a
    pool, a larger heap) it keeps, so it must be allocated before the measurements.
    """
    for _ in range(3):
        time.sleep(STALL)
        gevent.sleep(4 * STALL)
    load.lateness = 0.0


def samples(env: FaultEnv, minutes: float, count: int) -> Iterator[Sample]:
    """Yield a sample at the beginning, and *count* more until *minutes* have passed."""
    began = time.monotonic()
    for number in range(count + 1):
        due = began + number / count * minutes * 60
        gevent.sleep(max(MIN_PAUSE, due - time.monotonic()))
        sockets = sum(map(connections_to, env.ports))
        resident = memory()
        at = time.monotonic() - began
        yield Sample(at, resident, malloced(), blocks(), len(greenlets()), sockets)


def levels(env: FaultEnv, minutes: float) -> Iterator[Sample]:
    """Yield the mean of the samples of each part of a run; print a sample now and then.

    Nothing else is kept, as this function would grow otherwise.
    """
    count = max(1, round(minutes * 60 / LEVELS / SAMPLE_PAUSE))
    taken = samples(env, minutes, LEVELS * count)
    say(next(taken))
    for number in range(1, LEVELS + 1):
        part = list(itertools.islice(taken, count))
        if number % LEVELS_PER_LINE == 0:
            say(part[-1])
        yield Sample(*map(fmean, zip(*part, strict=True)))


def say(line: object) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def growth_faults(held: list[Sample], messages: float) -> Iterator[str]:
    """Print what grows, and by how much; yield what is wrong.

    *messages* (and calls) were sent between two levels.  The first quarter of the levels is the
    warm-up.  The limits are below the cost of anything that each message could leave behind: an
    object takes a block, of 16 bytes at least.
    """
    later = held[len(held) // 4 :]
    growth = partial(Growth.of, messages=messages)
    for found in (
        growth("bytes resident", [level.memory for level in later], limit=1.0, is_peak=True),
        growth("bytes of malloc", [level.malloced for level in later], limit=1.0),
        growth("blocks", [level.blocks for level in later], limit=0.1),
        growth("greenlets", [level.greenlets for level in later], limit=0.001),
    ):
        say(found)
        if found.fault is not None:
            yield found.fault
    if sockets := {sample.sockets for sample in held} - {2.0}:
        yield f"sockets: {sorted(sockets)}"


def run_steady(env: FaultEnv, minutes: float, settings: LoadSettings) -> list[str]:
    """Run the load for so long; return what is wrong."""

    def count() -> int:
        return run.load.journal.sent + run.load.journal.calls.total()

    with FaultRun(env, settings) as run:
        stall(run.load)
        run.record_memory()
        before = count()
        held = list(levels(env, minutes))
        messages = count() - before
        report = run.finish(f"{minutes:g} minutes of steady load")
    say(report)
    return [*growth_faults(held, messages / LEVELS), *violations(report, HARMLESS)]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.steady", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--broker", choices=["rabbitmq", "embedded"], default="rabbitmq")
    parser.add_argument("--pause", type=float, default=0.2, help="seconds between two messages")
    options = parser.parse_args()
    with opened(options.broker, direct=True) as env:
        found = run_steady(env, options.minutes, LoadSettings(pause=options.pause))
    say("\n".join(f"* {text}" for text in found) or "nothing grows")
    return 1 if found else 0


@contextmanager
def opened(broker: str, *, direct: bool = False) -> Iterator[FaultEnv]:
    """Start a broker of this kind, with an environment for it; stop both at the end."""
    if broker == "embedded":
        with on_embedded(direct=direct) as env:
            yield env
        return
    node = RabbitMQNode(VHOSTS, LOGINS)
    try:
        in_node_thread(node.start)
        with on_node(node, VHOSTS[0], direct=direct) as env:
            yield env
    finally:
        node.close()


if __name__ == "__main__":
    sys.exit(main())
