"""``python -m tests.faults.steady --minutes 30``: steady load, and what the process holds.

The exit code is 1 if memory, greenlets or sockets grow.  Components connect to the broker directly:
the proxy of the other fault tests is a thread of this process, with a heap of its own.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from statistics import fmean

import gevent

from tests.faults.fault_env import FaultEnv, add_broker_option, on_embedded, on_rabbitmq
from tests.faults.fault_run import fault_run
from tests.faults.growth import growth_of
from tests.faults.load import Load, LoadSettings
from tests.faults.report import HARMLESS, report, violations
from tests.support.measures import connections_to, greenlets, malloced, memory

LEVELS = 30
"""The number of parts of a run: one a minute in half an hour."""
LEVELS_PER_LINE = 5
SAMPLE_PAUSE = 5.0
"""Seconds between two samples; a run of a minute or two has one sample for each part."""
MIN_PAUSE = 0.1
"""Seconds that the load has for itself before each sample, however late the sample is."""
STALL = 0.5
"""Seconds for which `stall` blocks the hub: longer than any sender pauses."""
LIMITS = {"bytes resident": 1.0, "bytes of malloc": 1.0, "blocks": 0.1, "greenlets": 0.001}
"""What may not grow by so much with each message.  The limits are below the cost of anything that
a message could leave behind: an object takes a block, of 16 bytes at least."""

Sample = dict[str, float]


def sample(env: FaultEnv) -> Sample:
    """Return what the process holds."""
    return {
        "sockets": sum(map(connections_to, env.ports)),
        "bytes resident": memory(),
        "bytes of malloc": malloced(),
        "blocks": sys.getallocatedblocks(),
        "greenlets": len(greenlets()),
    }


def say(line: object) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def end_program(wrong: list[str]) -> None:
    """End the program with the exit code 1 and a text if anything is *wrong*."""
    if wrong:
        sys.exit("\n".join(f"* {text}" for text in wrong))
    say("nothing is wrong")


def stall(load: Load) -> None:
    """Block the hub three times, so that everything is due at once afterwards.

    A busy machine does so sooner or later.  What the process allocates then (another greenlet in a
    pool, a larger heap) it keeps, so it must be allocated before the measurements.
    """
    for _ in range(3):
        time.sleep(STALL)
        gevent.sleep(4 * STALL)
    load.journal.lateness = 0.0


def levels(env: FaultEnv, minutes: float) -> Iterator[Sample]:
    """Yield the mean of the samples of each part of a run; print the last sample of some parts.

    Nothing else is kept, as this function would grow otherwise.
    """
    count = max(1, round(minutes * 60 / LEVELS / SAMPLE_PAUSE))
    began, pause = time.monotonic(), minutes * 60 / LEVELS / count
    for number in range(LEVELS):
        part = []
        for due in range(number * count + 1, (number + 1) * count + 1):
            gevent.sleep(max(MIN_PAUSE, began + due * pause - time.monotonic()))
            part.append(sample(env))
        if number % LEVELS_PER_LINE == LEVELS_PER_LINE - 1:
            held = ", ".join(f"{value:,.0f} {name}" for name, value in part[-1].items())
            say(f"{(time.monotonic() - began) / 60:6.1f} min  {held}")
        yield {name: fmean(each[name] for each in part) for name in part[0]}


def growth_faults(held: list[Sample], messages: float) -> Iterator[str]:
    """Print what grows, and by how much; yield what is wrong.

    *messages* (and calls) were sent between two levels.  The first quarter of the levels is the
    warm-up.
    """
    later = held[len(held) // 4 :]
    for what, limit in LIMITS.items():
        series, is_peak = [level[what] for level in later], what == "bytes resident"
        account, fault = growth_of(what, series, messages=messages, limit=limit, is_peak=is_peak)
        say(account)
        if fault is not None:
            yield fault
    if sockets := {level["sockets"] for level in held} - {2.0}:
        yield f"sockets: {sorted(sockets)}"


def run_steady(env: FaultEnv, minutes: float, settings: LoadSettings) -> list[str]:
    """Run the load for so long; return what is wrong."""
    with fault_run(env, f"{minutes:g} minutes of steady load", settings) as load:
        journal = load.journal
        stall(load)
        journal.memory_before = memory()
        before = journal.sent + journal.calls.total()
        held = list(levels(env, minutes))
        messages = journal.sent + journal.calls.total() - before
    say(report(journal))
    return [*growth_faults(held, messages / LEVELS), *violations(journal, HARMLESS)]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.steady", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    add_broker_option(parser, "embedded")
    parser.add_argument("--pause", type=float, default=0.2, help="seconds between two messages")
    options = parser.parse_args()
    opened = on_rabbitmq if options.broker == "rabbitmq" else on_embedded
    with opened(direct=True) as env:
        end_program(run_steady(env, options.minutes, LoadSettings(pause=options.pause)))


if __name__ == "__main__":
    main()
