"""The report of a run, and the limits that it is checked against."""

from __future__ import annotations

import math
from dataclasses import dataclass

from tests.faults.journal import Journal

ANSWERED, WRONG = "answered", "wrong answer"
OUTCOMES = frozenset({ANSWERED, "TimeoutError", "NoRoute", "ConnectionLost"})
"""The outcomes that a call may have during a fault."""


def figures(journal: Journal) -> dict[str, str]:
    """Return the figures of a run by their labels: the columns of the table of all runs."""
    calls = journal.calls.total()
    return {
        "time s": f"{journal.duration:.1f}",
        "sent": f"{journal.sent}",
        "confirmed": f"{journal.confirmed}",
        "refused": f"{journal.refused}",
        "handled": f"{journal.handled}",
        "twice": f"{journal.duplicates}",
        "lost": f"{journal.lost}",
        "calls": f"{calls}",
        "failed": f"{calls - journal.calls[ANSWERED]}",
        "wait s": f"{journal.longest_wait:.2f}",
        "over s": f"{journal.overdue:+.2f}",
        "recovery": f"{journal.recovery:.2f}",
        "late s": f"{journal.lateness:.2f}",
        "sockets": f"{journal.sockets}",
        "MB": f"{journal.memory_after / 1e6:.1f}",
        "growth": f"{journal.growth:+.1%}",
    }


def table_line(title: str, values: dict[str, str]) -> str:
    """Return a line of the table of all runs; *values* are the `figures` of a run."""
    return f"{title[:43]:<44}" + "".join(f"{values[key]:>{max(7, len(key) + 1)}}" for key in values)


HEADER = table_line("fault", {key: key for key in figures(Journal())})


def report(journal: Journal) -> str:
    """Return all figures, the outcomes of the calls, and what is wrong apart from the limits."""
    wrong = [f"{text} ({count} times)" for text, count in journal.unexpected.items()]
    lines = [f"{key:<10}{value}" for key, value in figures(journal).items()]
    outcomes = [f"calls     {count} {outcome}" for outcome, count in sorted(journal.calls.items())]
    return "\n  ".join([f"--- {journal.title}", *lines, *outcomes, *wrong])


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The largest values that a journal may have at the end of its run."""

    lost: int = 0  # more than 0 only if the fault deletes messages
    duplicates: float = math.inf  # 0 for a fault that leaves no delivery in doubt
    refused: float = math.inf
    overdue: float = 0.5
    recovery: float = 5.0
    growth: float = 0.10
    sockets: int = 2  # exactly so many
    outcomes: frozenset[str] = OUTCOMES


ALL_ANSWERED = frozenset({ANSWERED})
HARMLESS = Limits(duplicates=0, refused=0, outcomes=ALL_ANSWERED)
"""For a fault that no component notices."""


def violations(journal: Journal, limits: Limits) -> list[str]:
    """Return a text for each limit that the run of *journal* violates."""
    worked = journal.handled > 0 and journal.calls[ANSWERED] > 0
    checks = {
        f"{journal.lost} confirmed messages are lost": journal.lost > limits.lost,
        f"{journal.duplicates} duplicates": journal.duplicates > limits.duplicates,
        f"{journal.refused} publishes failed": journal.refused > limits.refused,
        f"a wait of {journal.overdue:.2f} s beyond its limit": journal.overdue > limits.overdue,
        f"{journal.unfinished} greenlets wait for ever": journal.unfinished > 0,
        f"recovery after {journal.recovery:.2f} s": journal.recovery > limits.recovery,
        f"{journal.failures_after} failures after recovery": journal.failures_after > 0,
        f"{journal.sockets} sockets": journal.sockets != limits.sockets,
        f"greenlets left over: {journal.greenlets}": bool(journal.greenlets),
        f"memory grew by {journal.growth:.1%}": journal.growth > limits.growth,
        "nothing was handled, or no call answered": not worked,
    }
    outcomes = sorted(journal.calls.keys() - limits.outcomes)
    return [
        *(text for text, is_violated in checks.items() if is_violated),
        *(f"{journal.calls[outcome]} calls: {outcome}" for outcome in outcomes),
        *journal.unexpected,
    ]


def check(journal: Journal, limits: Limits | None = None) -> None:
    """Raise AssertionError with all violations and the report, if there is any violation."""
    if found := violations(journal, limits or Limits()):
        raise AssertionError("\n".join(["", *(f"* {text}" for text in found), report(journal)]))
