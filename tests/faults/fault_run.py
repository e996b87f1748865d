"""A run: a load, faults, and the report."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable

from postage import green
from postage.testing.polling import wait_until
from tests.faults.fault_env import FaultEnv
from tests.faults.load import Load, LoadSettings
from tests.faults.report import RunReport
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


class FaultRun:
    """``with FaultRun(env) as run:`` runs a load on *env*; see `inject` and `finish`."""

    def __init__(
        self, env: FaultEnv, settings: LoadSettings | None = None, *, timeout: float = 15.0
    ) -> None:
        """Prepare a run; *timeout* is in seconds and limits the wait for each recovery."""
        self.env, self.load = env, Load(settings)
        self.began = self._recovered = time.monotonic()
        self._timeout = timeout
        self._known = {id(each) for each in greenlets()}
        self._recovery = 0.0
        self._memory_before = 0

    def __enter__(self) -> FaultRun:  # noqa: PYI034 - Self needs Python 3.11
        try:
            self.load.start()
        except BaseException:
            self.load.kill()
            raise
        reached(lambda: self.load.all_succeeded(WARM_UP), self._timeout)  # if not: see the report
        self.record_memory()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self.load.kill()

    def record_memory(self) -> None:
        """Take the present memory as that before the faults."""
        self._memory_before = memory()

    def inject(self, injection: Injection) -> float:
        """Cause a fault, and wait for the recovery; return how many seconds the recovery took.

        The load has recovered when each processor has handled something new; math.inf: it has not.
        """
        injection(self.env, self.load)
        ended = time.monotonic()
        recovered = reached(lambda: self.load.all_active_since() > ended, self._timeout)
        self._recovered = time.monotonic()
        took = self._recovered - ended if recovered else math.inf
        self._recovery = max(self._recovery, took)
        return took

    def finish(self, title: str) -> RunReport:
        """Stop the load in order, close all connections, and return the report."""
        load, journal = self.load, self.load.journal
        timeout = 1.0 if math.isinf(self._recovery) else self._timeout
        before = journal.successes.copy()
        if not reached(lambda: load.all_succeeded(AFTERWARDS, before), timeout):
            journal.add_unexpected("a sender did not succeed again after the recovery")
        sockets, memory_after = sum(map(connections_to, self.env.ports)), memory()
        unfinished = load.stop_senders()
        reached(lambda: journal.lost == 0, timeout)
        load.stop()
        green.close()
        return RunReport(
            title=title,
            duration=time.monotonic() - self.began,
            sent=journal.sent,
            confirmed=journal.confirmed,
            refused=journal.refused,
            handled=journal.handled,
            duplicates=journal.duplicates,
            lost=journal.lost,
            calls=dict(journal.calls),
            longest_wait=journal.longest_wait,
            overdue=journal.overdue,
            unfinished=unfinished,
            recovery=self._recovery,
            failures_after=journal.failures_since(self._recovered),
            lateness=load.lateness,
            sockets=sockets,
            greenlets=self._left_over(),
            memory_before=self._memory_before,
            memory_after=memory_after,
            unexpected=tuple(f"{text} ({n} times)" for text, n in journal.unexpected.items()),
        )

    def _left_over(self) -> tuple[str, ...]:
        def new() -> list[str]:
            return [repr(each) for each in greenlets() if id(each) not in self._known]

        reached(lambda: not new(), 2.0)
        return tuple(new())


def run_with_fault(
    env: FaultEnv,
    title: str,
    injection: Injection,
    settings: LoadSettings | None = None,
    *,
    timeout: float = 15.0,
) -> RunReport:
    """Run a load on *env*, cause one fault, and return the report."""
    with FaultRun(env, settings, timeout=timeout) as run:
        run.inject(injection)
        return run.finish(title)
