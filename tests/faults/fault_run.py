"""A run: a load, faults, and the journal of both."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from postage import green
from postage.testing.polling import wait_until
from tests.faults.fault_env import FaultEnv
from tests.faults.journal import Journal
from tests.faults.load import Load, LoadSettings
from tests.support.measures import connections_to, greenlets, memory

Injection = Callable[[FaultEnv, Load], object]
"""Causes a fault in an environment under a load, and returns when the fault is over."""

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


@dataclass
class FaultRun:
    """What `fault_run` runs; *timeout* is in seconds and limits the wait for each recovery."""

    env: FaultEnv
    load: Load
    timeout: float
    recovered: float = 0.0

    def inject(self, injection: Injection) -> float:
        """Cause a fault, and wait for the recovery; return how many seconds the recovery took.

        The load has recovered when each processor has handled something new; math.inf: it has not.
        """
        injection(self.env, self.load)
        ended = time.monotonic()
        recovered = reached(lambda: self.load.all_active_since() > ended, self.timeout)
        self.recovered = time.monotonic()
        took = self.recovered - ended if recovered else math.inf
        self.load.journal.recovery = max(self.load.journal.recovery, took)
        return took

    def finish(self) -> None:
        """Stop the load in order, close all connections, and complete the journal."""
        load, journal = self.load, self.load.journal
        timeout = 1.0 if math.isinf(journal.recovery) else self.timeout
        before = journal.successes.copy()
        if not reached(lambda: load.all_succeeded(AFTERWARDS, before), timeout):
            journal.add_unexpected("a sender did not succeed again after the recovery")
        journal.sockets = sum(map(connections_to, self.env.ports))
        journal.memory_after = memory()
        journal.unfinished = load.stop_senders()
        reached(lambda: journal.lost == 0, timeout)
        load.stop()
        green.close()
        journal.failures_after = journal.failures_since(self.recovered)


@contextlib.contextmanager
def fault_run(
    env: FaultEnv, title: str, settings: LoadSettings | None = None, *, timeout: float = 15.0
) -> Iterator[FaultRun]:
    """Run a load on *env* during the block; its journal is complete afterwards."""
    known = {id(each) for each in greenlets()}
    run = FaultRun(env, Load(title, settings), timeout)
    load, journal = run.load, run.load.journal
    began = run.recovered = time.monotonic()

    def left_over() -> tuple[str, ...]:
        return tuple(repr(each) for each in greenlets() if id(each) not in known)

    try:
        load.start()
        reached(lambda: load.all_succeeded(WARM_UP), timeout)  # if not: see the report
        journal.memory_before = memory()
        yield run
        run.finish()
    finally:
        load.kill()
    journal.duration = time.monotonic() - began
    reached(lambda: not left_over(), 2.0)
    journal.greenlets = left_over()


def run_with_fault(
    env: FaultEnv,
    title: str,
    injection: Injection,
    settings: LoadSettings | None = None,
    *,
    timeout: float = 15.0,
) -> Journal:
    """Run a load on *env*, cause one fault, and return the journal."""
    with fault_run(env, title, settings, timeout=timeout) as run:
        run.inject(injection)
    return run.load.journal
