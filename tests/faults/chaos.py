"""``python -m tests.faults.chaos --minutes 10 --seed 1``: one fault after another, under load.

The faults happen to a private RabbitMQ node and to the proxy before it.  The program prints the
seed first and the report last; the exit code is 1 if the report violates a limit.
"""

from __future__ import annotations

import argparse
import random
import time
from functools import partial

import gevent

from tests.faults.catalogue import FAULTS
from tests.faults.fault_env import FaultEnv, add_broker_option, on_rabbitmq
from tests.faults.fault_run import Injection, fault_run, inject
from tests.faults.load import Load
from tests.faults.report import Limits, report, violations
from tests.faults.steady import end_program, say
from tests.support.measures import memory

CANDIDATES = [fault for fault in FAULTS if "rabbitmq" in fault.brokers]


def cause(env: FaultEnv, load: Load, story: str, injection: Injection) -> None:
    """Cause one fault and print its costs; if it cannot be caused, the report says so as well."""
    journal = load.journal
    try:
        recovery = inject(env, load, injection)
    except AssertionError as exc:
        journal.add_unexpected(f"{story}: {exc}")
        say(f"{story}: {exc}")
    else:
        say(
            f"{story:<41} recovery after {recovery:5.2f} s; "
            f"{journal.lost} unhandled, {journal.duplicates} duplicates, {memory() / 1e6:.1f} MB"
        )


def run_chaos(env: FaultEnv, minutes: float, seed: int) -> list[str]:
    """Cause faults for so long, the same by *seed*; return the violations.

    The first tenth of the time is the warm-up: the memory before the faults is measured after it.
    """
    chance, is_warm = random.Random(seed), False
    with fault_run(env, f"{minutes:g} minutes of chaos, seed {seed}") as load:
        journal, began = load.journal, time.monotonic()
        while (elapsed := time.monotonic() - began) <= minutes * 60:
            if not is_warm and elapsed > minutes * 6:
                is_warm, journal.memory_before = True, memory()
            (fault,) = chance.choices(CANDIDATES, [each.weight for each in CANDIDATES])
            arguments = {name: chance.uniform(*bounds) for name, bounds in fault.draw.items()}
            cause(env, load, f"{elapsed:7.1f} s  {fault.name}", partial(fault.inject, **arguments))
            gevent.sleep(chance.uniform(0.0, 2.0))
    say(report(journal))
    return violations(journal, Limits())


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    add_broker_option(parser)
    options = parser.parse_args()
    say(f"seed {options.seed}")
    with on_rabbitmq() as env:
        end_program(run_chaos(env, options.minutes, options.seed))


if __name__ == "__main__":
    main()
