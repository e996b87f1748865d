"""``python -m tests.faults.chaos --minutes 10 --seed 1``: one fault after another, under load.

On a private RabbitMQ node, through the proxy.  The seed is printed first; the account comes last,
and the exit code is 1 when it shows anything wrong.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial

from tests.faults import brokers, channels, deaths, links
from tests.faults.account import Limits, findings
from tests.faults.exam import Exam
from tests.faults.fault import Strike
from tests.faults.measures import memory
from tests.faults.scene import Scene, lasting
from tests.faults.steady import opened, say


def menu(chance: random.Random) -> dict[str, tuple[float, Strike]]:
    """Return each fault with its weight, and its durations drawn anew."""
    some = partial(chance.uniform, 0.2, 4.0)
    sizes = chance.randint(20, 3000), chance.randint(20, 200)
    return {
        "link cut": (3, links.cut),
        "link cut and refused": (2, partial(links.unreachable, seconds=some())),
        "half-open": (2, links.half_open),
        "dark": (1, partial(links.dark, seconds=some())),
        "delay": (1, partial(links.slow, delay=some() / 2, seconds=some())),
        "narrow": (1, partial(links.slow, rate=chance.randint(5_000, 50_000), seconds=some())),
        "cut in mid-frame": (2, partial(links.cut_in_mid_frame, sizes=sizes)),
        "broker killed": (2, brokers.killed),
        "application stopped": (1, brokers.stopped),
        "memory alarm": (1, partial(brokers.alarmed, seconds=some())),
        "connections closed": (1, brokers.closed),
        "exchange deleted": (1, channels.exchange_deleted),
        "queue mismatched": (1, channels.mismatched),
        "queue of calls deleted": (1, partial(channels.queue_deleted, which="calls")),
        "queue of messages deleted": (1, partial(channels.queue_deleted, which="notes")),
        "reply connection closed": (1, channels.reply_queues_lost),
        "consumer killed": (1, deaths.consumer_killed),
        "producer killed": (1, deaths.producer_killed),
    }


def faults(seed: int) -> Iterator[tuple[str, Strike, float]]:
    """Yield names and faults without end, and how long to rest after each; the same by seed."""
    chance = random.Random(seed)
    while True:
        offered = menu(chance)
        weights = [weight for weight, _ in offered.values()]
        (name,) = chance.choices(list(offered), weights)
        yield name, offered[name][1], chance.uniform(0.0, 2.0)


def suffer(exam: Exam, name: str, strike: Strike) -> None:
    """Have one fault; what it cannot do is in the account as well."""
    began = time.monotonic()
    try:
        took = exam.suffer(strike)
    except AssertionError as exc:
        exam.load.ledger.surprise(f"{name}: {exc}")
        say(f"{name}: {exc}")
    else:
        ledger = exam.load.ledger
        say(
            f"{began - exam.began:7.1f} s  {name:<28} consuming again after {took:5.2f} s; "
            f"{ledger.lost} unhandled, {ledger.duplicates} duplicates, {memory() / 1e6:.1f} MB"
        )


def run(scene: Scene, minutes: float, seed: int) -> list[str]:
    """Have faults for so long; return what is wrong.

    The first tenth of the time is for warming up: only then is the memory before all of it taken.
    """
    with Exam(scene) as exam:
        exam.begin()
        warm = False
        for name, strike, rest in faults(seed):
            suffer(exam, name, strike)
            lasting(rest)
            elapsed = (time.monotonic() - exam.began) / 60
            if not warm and elapsed > minutes / 10:
                warm = True
                exam.weigh()
            if elapsed > minutes:
                break
        account = exam.account(f"{minutes:g} minutes of chaos, seed {seed}")
    say(account)
    return findings(account, Limits())


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    options = parser.parse_args()
    say(f"seed {options.seed}")
    with ExitStack() as stack:
        scene = stack.enter_context(opened("rabbitmq", stack))
        wrong = run(scene, options.minutes, options.seed)
    say("\n".join(f"* {what}" for what in wrong) or "nothing is wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
