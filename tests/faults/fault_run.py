"""A run: a load, faults, and the journal of both."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from postage import green
from postage.testing.polling import wait_until
from tests.faults.fault_env import FaultEnv
from tests.faults.journal import Journal
from tests.faults.load import Load, LoadSettings
from tests.support.measures import connections_to, greenlets, memory

Injection = Callable[[FaultEnv, Load], object]
"""Causes a fault in an environment under a load, and returns when the fault is over."""

LoadKind = TypeVar("LoadKind", bound=Load)

WARM_UP = 3
"""How often every sender succeeds before the memory is measured."""
AFTERWARDS = 2
"""How often every sender must succeed after the recovery."""


def reached(condition: Callable[[], object], within: float) -> bool:
    """Wait until *condition* holds; return False if it does not hold *within* seconds."""
    with contextlib.suppress(AssertionError):
        wait_until(condition, within)
        return True
    return False


def inject(env: FaultEnv, load: Load, injection: Injection) -> float:
    """Cause a fault, and wait for the recovery; return how many seconds the recovery took.

    The load has recovered when each processor has handled something, which may have been sent
    before the end of the fault, and when what was sent after it succeeds; math.inf: it has not.
    """
    journal, names = load.journal, [processor.name for processor in load.processors]
    injection(env, load)
    ended = time.monotonic()
    timeout = load.settings.recovery_timeout
    recovered = reached(
        lambda: journal.all_active_since(names) > ended and load.succeeded_since(ended), timeout
    )
    journal.recovered = time.monotonic()
    took = journal.recovered - ended if recovered else math.inf
    journal.recovery = max(journal.recovery, took)
    return took


@contextlib.contextmanager
def fault_run(
    env: FaultEnv,
    title: str,
    settings: LoadSettings | None = None,
    kind: Callable[[str, LoadSettings | None], LoadKind] = Load,  # type: ignore[assignment]
) -> Iterator[LoadKind]:
    """Run a load on *env* during the block; then stop it in order, and complete its journal."""
    known = {id(each) for each in greenlets()}
    load, began = kind(title, settings), time.monotonic()
    journal, timeout = load.journal, load.settings.recovery_timeout

    def left_over() -> tuple[str, ...]:
        return tuple(repr(each) for each in greenlets() if id(each) not in known)

    def sockets() -> int:
        return sum(map(connections_to, env.ports))

    try:
        load.start()
        reached(lambda: load.all_succeeded(WARM_UP), timeout)  # if not: see the report
        journal.recovered, journal.memory_before = began, memory()
        yield load
        timeout = 1.0 if math.isinf(journal.recovery) else timeout
        before = journal.successes.copy()
        if not reached(lambda: load.all_succeeded(AFTERWARDS, before), timeout):
            journal.add_unexpected("a sender did not succeed again after the recovery")
        reached(lambda: sockets() <= 2, 2.0)  # one that was left for another is closed after 1 s
        journal.sockets = sockets()
        journal.memory_after = memory()
        journal.unfinished = load.stop_senders()
        reached(lambda: journal.lost == 0, timeout)
        load.stop()
    finally:
        load.kill()
    green.close()
    journal.duration = time.monotonic() - began
    journal.failures_after = journal.failures_since(journal.recovered)
    reached(lambda: not left_over(), 2.0)
    journal.greenlets = left_over()


def run_with_fault(
    env: FaultEnv, title: str, injection: Injection, settings: LoadSettings | None = None
) -> Journal:
    """Run a load on *env*, cause one fault, and return the journal."""
    with fault_run(env, title, settings) as load:
        inject(env, load, injection)
    return load.journal
