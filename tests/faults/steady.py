"""``python -m tests.faults.steady --minutes 30``: steady load, and what the process holds.

Exit code 1 when memory, greenlets or sockets grow.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import gevent

from postage.testing.rabbitmq import RabbitMQNode
from tests.faults.account import ANSWERED, Limits, findings
from tests.faults.exam import Exam
from tests.faults.load import Shape
from tests.faults.login import LOGINS, VHOSTS
from tests.faults.measures import connections_to, greenlets, memory
from tests.faults.scene import Scene, attendant, on_embedded, on_node
from tests.faults.slope import slope

EACH = 5.0
"""Seconds between two samples."""
QUIET = Limits(duplicates=0, refused=0, outcomes=frozenset({ANSWERED}))


@dataclass(frozen=True)
class Sample:
    """What the process holds at one time."""

    at: float
    """Seconds since the load was at work."""
    memory: int
    greenlets: int
    sockets: int

    def __str__(self) -> str:
        return (
            f"{self.at / 60:6.1f} min  {self.memory / 1e6:7.2f} MB  {self.greenlets:4} greenlets"
            f"  {self.sockets} sockets"
        )


def samples(scene: Scene, minutes: float) -> Iterator[Sample]:
    """Yield a sample every `EACH` seconds, for so long."""
    began = time.monotonic()
    while (at := time.monotonic() - began) <= minutes * 60:
        sockets = sum(map(connections_to, scene.ports))
        yield Sample(at, memory(), len(greenlets()), sockets)
        gevent.sleep(EACH)


def told(taken: Iterator[Sample], every: float) -> Iterator[Sample]:
    """Print the first of *taken* and one after every so many seconds; yield all."""
    due = 0.0
    for sample in taken:
        if sample.at >= due:
            say(sample)
            due += every
        yield sample


def say(what: object) -> None:
    sys.stdout.write(f"{what}\n")
    sys.stdout.flush()


def verdict(taken: list[Sample]) -> list[str]:
    """Print the slope of memory; return what grew."""
    later = taken[len(taken) // 4 :]  # the first quarter is for warming up
    leak = slope([(sample.at / 60, sample.memory / 1e3) for sample in later])
    say(f"slope of memory: {leak.value:+.2f} kB a minute, standard error {leak.error:.2f}")
    wrong = [] if leak.is_noise else ["memory grows"]
    # Calls and handlers come and go: what counts is whether there is any trend.
    crowd = slope([(sample.at / 60, float(sample.greenlets)) for sample in later])
    wrong += [] if crowd.is_noise else [f"greenlets grow by {crowd.value:.2f} a minute"]
    sockets = {sample.sockets for sample in taken}
    return wrong + ([] if sockets == {2} else [f"sockets: {sorted(sockets)}"])


def run(scene: Scene, minutes: float, shape: Shape) -> list[str]:
    """Run the load for so long; return what is wrong."""
    with Exam(scene, shape) as exam:
        exam.begin()
        taken = list(told(samples(scene, minutes), min(300.0, minutes * 60 / 6)))
        account = exam.account(f"{minutes:g} minutes of steady load")
    say(account)
    return verdict(taken) + findings(account, QUIET)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.steady", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--broker", choices=["rabbitmq", "embedded"], default="rabbitmq")
    parser.add_argument("--pause", type=float, default=0.2, help="seconds between two messages")
    options = parser.parse_args()
    with ExitStack() as stack:
        scene = stack.enter_context(opened(options.broker, stack))
        wrong = run(scene, options.minutes, Shape(pause=options.pause))
    say("\n".join(f"* {what}" for what in wrong) or "nothing grows")
    return 1 if wrong else 0


def opened(broker: str, stack: ExitStack):
    """Return the scene on this kind of broker; *stack* ends what it starts."""
    if broker == "embedded":
        return on_embedded()
    node = RabbitMQNode(VHOSTS, LOGINS)
    stack.callback(node.close)
    attendant.run(node.start)
    return on_node(node, VHOSTS[0])


if __name__ == "__main__":
    sys.exit(main())
