"""Faults of components: the process that consumes, or publishes, is killed."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator

from postage.testing.polling import wait_until
from tests.faults.account import ANSWERED, Limits
from tests.faults.fault import Fault
from tests.faults.load import Load
from tests.faults.scene import Scene
from tests.support.programs import Program

PROGRAMS = "tests/faults/programs"
SENT_AT_MOST = 1000

_publishers = itertools.count(1000)


def said(program: Program, word: str) -> Iterator[tuple[int, int]]:
    """Yield the publisher and number of each whole line that *program* began with *word*."""
    written = program.stdout
    for line in written[: written.rfind("\n") + 1].splitlines():
        first, *numbers = line.split()
        if first == word:
            publisher, number = map(int, numbers)
            yield publisher, number


def consumer_killed(scene: Scene, load: Load) -> None:
    """Kill another process that handles some of the messages, in the middle of several."""
    program = f"{PROGRAMS}/worker.py"
    with Program(program, load.place.queue, "0.3", env=scene.environment()) as child:
        child.wait_for_line("done", 15.0)
        wait_until(lambda: in_hand(child) >= 3, 10.0, "three handlers run at once")
        child.kill()
        sys.stderr.write(child.stderr)
        for publisher, number in said(child, "done"):
            load.ledger.handle(publisher, number, "child")


def in_hand(child: Program) -> int:
    """Return how many messages *child* has begun and not finished."""
    written = child.stdout
    return written.count("begun") - written.count("done")


def producer_killed(scene: Scene, load: Load) -> None:
    """Kill another process that publishes, in the middle of it."""
    publisher = next(_publishers)
    arguments = f"{PROGRAMS}/sender.py", load.place.queue, str(publisher), str(SENT_AT_MOST)
    load.ledger.announce(publisher, SENT_AT_MOST)
    with Program(*arguments, env=scene.environment()) as child:
        wait_until(lambda: child.stdout.count("confirmed") >= 100, 15.0, "it publishes")
        child.kill()
        sys.stderr.write(child.stderr)
        for _, number in said(child, "confirmed"):
            load.ledger.sent += 1
            load.ledger.confirm(publisher, number)


ALIVE = frozenset({ANSWERED})

DEATHS = [
    Fault(
        name="consumer killed in mid-handler",
        strike=consumer_killed,
        limits=Limits(refused=0, outcomes=ALIVE),
        brief=("rabbitmq",),
    ),
    Fault(
        name="producer killed",
        strike=producer_killed,
        limits=Limits(duplicates=0, refused=0, outcomes=ALIVE),
        brief=("rabbitmq",),
    ),
]
