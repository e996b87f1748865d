"""A replay of 1,000 that is killed at any step loses none, and at most one is there twice."""

from __future__ import annotations

import random
import time
from collections import Counter

import gevent
import pytest

from postage import parking
from postage.testing.polling import wait_until
from tests.support.programs import Program

pytestmark = pytest.mark.usefixtures("broker_env")

PROGRAM = "tests/parking/programs/killed_replay.py"
TOTAL = 1000
SOON = 30.0
#: Steps, and at which of their messages the process is killed.
KILLS = [
    ("asking", 1), ("taken", 1), ("publishing", 1), ("published, unsent", 1),
    ("published, sent", 1), ("confirmed", 1), ("acked, unsent", 1), ("acked, sent", 1),
    ("taken", 37), ("published, unsent", 40), ("published, sent", 51), ("confirmed", 23),
    ("acked, unsent", 44), ("acked, sent", 30), ("random", 0), ("random", 0), ("random", 0),
    ("closing", 1), ("closed", 1),
]  # fmt: skip


def killed(queue: str, step: str, times: int, draw: random.Random) -> None:
    """Run the program until it is dead."""
    with Program(PROGRAM, queue, step, str(times)) as program:
        program.wait_for_line("begins", SOON)
        if step == "random":
            time.sleep(draw.uniform(0.0, 0.2))
            program.kill()
        wait_until(lambda: not program.running, SOON)
        assert program.stderr == "", step


@pytest.mark.limit(120)
def test_a_replay_may_be_killed_at_any_step(places):
    places.park(TOTAL)
    count, draw = places.raw.count, random.Random(16)
    twice, kills = 0, 0

    for step, times in KILLS:
        killed(places.parked, step, times, draw)
        kills += 1

        def settled(least: int = TOTAL + twice) -> bool:
            return count(places.parked) + count(places.queue) >= least

        wait_until(settled, SOON, f"all messages after {step}")
        gevent.sleep(0.05)  # a message that is there twice may still be on its way back
        now = count(places.parked) + count(places.queue) - TOTAL
        assert now - twice in (0, 1), (step, times)
        twice = now

    parking.replay(places.parked)
    bodies = Counter(places.numbers(places.queue, TOTAL + twice))
    assert sorted(bodies) == [*range(TOTAL)]
    assert sum(times - 1 for times in bodies.values()) == twice <= kills
    assert twice >= 2, "no kill fell between the confirm and the ack: the steps do not work"
