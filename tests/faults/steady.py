"""``python -m tests.faults.steady --minutes 30``: steady load, and what the process holds.

Exit code 1 when memory, greenlets or sockets grow.  The broker is asked straight, not through the
proxy of the other fault tests: that is a thread of this process, with a heap of its own.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from statistics import fmean
from typing import NamedTuple

import gevent

from postage.testing.rabbitmq import RabbitMQNode
from tests.faults.account import ANSWERED, Limits, findings
from tests.faults.exam import Exam
from tests.faults.growth import Growth
from tests.faults.load import Load, Shape
from tests.faults.login import LOGINS, VHOSTS
from tests.faults.measures import connections_to, greenlets, memory
from tests.faults.scene import Scene, attendant, on_embedded, on_node
from tests.support.heap import blocks, malloced

LEVELS = 30
"""Into how many parts a run is divided: one a minute in half an hour."""
TOLD = 5
"""How many parts end before the next sample is printed."""
PAUSE = 5.0
"""Seconds between two samples, or less in a run of a minute or two: it has one for each part."""
REST = 0.1
"""Seconds that the load has to itself before a sample, however late that is."""
HELD = 0.5
"""Seconds for which the hub is held in `shake`: all rest for less."""
SHAKES = 3
QUIET = Limits(duplicates=0, refused=0, outcomes=frozenset({ANSWERED}))


class Sample(NamedTuple):
    """What the process holds at one time."""

    at: float
    """Seconds since the load was at work."""
    memory: float
    """Resident bytes."""
    malloced: float
    """Bytes in use of those that malloc manages."""
    blocks: float
    """Blocks in use of Python's own."""
    greenlets: float
    sockets: float

    def __str__(self) -> str:
        return (
            f"{self.at / 60:6.1f} min  {self.memory / 1e6:7.3f} MB resident"
            f"  {self.malloced / 1e6:7.3f} MB of malloc  {self.blocks:7.0f} blocks"
            f"  {self.greenlets:4.0f} greenlets  {self.sockets:.0f} sockets"
        )


def shake(load: Load) -> None:
    """Hold the hub some times, so that everything is due at once afterwards.

    A busy machine does so sooner or later; what that takes (a greenlet more in a pool, a larger
    heap) stays.  So it is taken before anything is measured.
    """
    for _ in range(SHAKES):
        time.sleep(HELD)
        gevent.sleep(4 * HELD)
    load.lateness = 0.0


def samples(scene: Scene, minutes: float, count: int) -> Iterator[Sample]:
    """Yield a sample at the beginning, and *count* until so many *minutes* are over."""
    began = time.monotonic()
    for number in range(count + 1):
        due = began + number / count * minutes * 60
        gevent.sleep(max(REST, due - time.monotonic()))
        sockets = sum(map(connections_to, scene.ports))
        resident = memory()
        at = time.monotonic() - began
        yield Sample(at, resident, malloced(), blocks(), len(greenlets()), sockets)


def told(taken: Iterator[Sample], every: int) -> Iterator[Sample]:
    """Print the first of *taken*, and one in *every* after it; yield all but the first."""
    say(next(taken))
    for number, sample in enumerate(taken, 1):
        if number % every == 0:
            say(sample)
        yield sample


def levels(scene: Scene, minutes: float) -> Iterator[Sample]:
    """Yield what is held in each part of a run: the means of its samples.

    No more than that is kept, or this would grow itself.
    """
    each = max(1, round(minutes * 60 / LEVELS / PAUSE))
    taken = told(samples(scene, minutes, LEVELS * each), TOLD * each)
    while part := list(itertools.islice(taken, each)):
        yield Sample(*map(fmean, zip(*part, strict=True)))


def say(what: object) -> None:
    sys.stdout.write(f"{what}\n")
    sys.stdout.flush()


def growths(held: list[Sample], messages: float) -> Iterator[Growth]:
    """Yield what *held* shows: levels with so many *messages* (calls count) between them.

    The first quarter is for warming up.  The limits are less than what anything costs that is left
    behind by each message: an object takes a block, of 16 bytes at least.
    """
    later = held[len(held) // 4 :]
    growth = partial(Growth.of, messages=messages)
    yield growth("bytes resident", [level.memory for level in later], limit=1.0, is_mark=True)
    yield growth("bytes of malloc", [level.malloced for level in later], limit=1.0)
    yield growth("blocks", [level.blocks for level in later], limit=0.1)
    yield growth("greenlets", [level.greenlets for level in later], limit=0.001)


def verdict(held: list[Sample], messages: float) -> Iterator[str]:
    """Print what grows, and by how much; yield what is wrong."""
    for growth in growths(held, messages):
        say(growth)
        if growth.fault is not None:
            yield growth.fault
    if sockets := {sample.sockets for sample in held} - {2.0}:
        yield f"sockets: {sorted(sockets)}"


def run(scene: Scene, minutes: float, shape: Shape) -> list[str]:
    """Run the load for so long; return what is wrong."""
    with Exam(scene, shape) as exam:
        exam.begin()
        shake(exam.load)
        exam.weigh()
        before = messages_of(exam.load)
        held = list(levels(scene, minutes))
        messages = messages_of(exam.load) - before
        account = exam.account(f"{minutes:g} minutes of steady load")
    say(account)
    return [*verdict(held, messages / LEVELS), *findings(account, QUIET)]


def messages_of(load: Load) -> int:
    """Return how many messages *load* has sent, and calls it has made."""
    return load.ledger.sent + load.ledger.calls.total()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.steady", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--broker", choices=["rabbitmq", "embedded"], default="rabbitmq")
    parser.add_argument("--pause", type=float, default=0.2, help="seconds between two messages")
    options = parser.parse_args()
    with ExitStack() as stack:
        scene = stack.enter_context(opened(options.broker, stack, straight=True))
        wrong = run(scene, options.minutes, Shape(pause=options.pause))
    say("\n".join(f"* {what}" for what in wrong) or "nothing grows")
    return 1 if wrong else 0


def opened(
    broker: str, stack: ExitStack, *, straight: bool = False
) -> AbstractContextManager[Scene]:
    """Return the scene on this kind of broker; *stack* ends what it starts."""
    if broker == "embedded":
        return on_embedded(straight=straight)
    node = RabbitMQNode(VHOSTS, LOGINS)
    stack.callback(node.close)
    attendant.run(node.start)
    return on_node(node, VHOSTS[0], straight=straight)


if __name__ == "__main__":
    sys.exit(main())
