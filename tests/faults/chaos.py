"""``python -m tests.faults.chaos --minutes 10 --seed 1``: one fault after another, under load.

The faults happen to a private RabbitMQ node and to the proxy before it.  The program prints the
seed first and the report last; the exit code is 1 if the report violates a limit.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Iterator
from functools import partial

import gevent

from tests.faults.catalogue import FAULTS
from tests.faults.fault_env import FaultEnv
from tests.faults.fault_run import FaultRun, Injection
from tests.faults.report import Limits, violations
from tests.faults.steady import opened, say
from tests.support.measures import memory

CANDIDATES = [fault for fault in FAULTS if "rabbitmq" in fault.brokers]


def draw(seed: int) -> Iterator[tuple[str, Injection, float]]:
    """Yield faults without end, each with its name and the pause after it; the same by *seed*."""
    chance = random.Random(seed)
    while True:
        (fault,) = chance.choices(CANDIDATES, [each.weight for each in CANDIDATES])
        yield fault.name, partial(fault.inject, **fault.draw(chance)), chance.uniform(0.0, 2.0)


def inject(run: FaultRun, name: str, injection: Injection) -> None:
    """Cause one fault and print its costs; if it cannot be caused, the report says so as well."""
    began, journal = time.monotonic() - run.began, run.load.journal
    try:
        recovery = run.inject(injection)
    except AssertionError as exc:
        journal.add_unexpected(f"{name}: {exc}")
        say(f"{name}: {exc}")
    else:
        say(
            f"{began:7.1f} s  {name:<30} recovery after {recovery:5.2f} s; "
            f"{journal.lost} unhandled, {journal.duplicates} duplicates, {memory() / 1e6:.1f} MB"
        )


def run_chaos(env: FaultEnv, minutes: float, seed: int) -> list[str]:
    """Cause faults for so long; return the violations.

    The first tenth of the time is the warm-up: the memory before the faults is measured after it.
    """
    with FaultRun(env) as run:
        is_warm, elapsed = False, 0.0
        faults = draw(seed)
        while elapsed <= minutes:
            name, injection, pause = next(faults)
            inject(run, name, injection)
            gevent.sleep(pause)
            elapsed = (time.monotonic() - run.began) / 60
            if not is_warm and elapsed > minutes / 10:
                is_warm = True
                run.record_memory()
        report = run.finish(f"{minutes:g} minutes of chaos, seed {seed}")
    say(report)
    return violations(report, Limits())


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    options = parser.parse_args()
    say(f"seed {options.seed}")
    with opened("rabbitmq") as env:
        found = run_chaos(env, options.minutes, options.seed)
    say("\n".join(f"* {text}" for text in found) or "nothing is wrong")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
