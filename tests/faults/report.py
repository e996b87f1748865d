"""The report of a run, and the limits that it is checked against."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

ANSWERED, WRONG = "answered", "wrong answer"
OUTCOMES = frozenset({ANSWERED, "TimeoutError", "NoRoute", "ConnectionLost"})
"""The outcomes that a call may have during a fault."""


@dataclass(frozen=True, kw_only=True)
class RunReport:
    """The figures of one run.  Durations are in seconds, memory is in bytes."""

    title: str
    duration: float
    sent: int
    confirmed: int
    refused: int  # publishes that raised an error: the broker may have the message or not
    handled: int  # each message is counted once
    duplicates: int
    lost: int  # confirmed and never handled
    calls: Mapping[str, int]  # by outcome
    longest_wait: float  # of a publish or a call
    overdue: float  # the longest wait beyond its own limit; negative if all were in time
    unfinished: int  # senders that still waited when all limits were over
    recovery: float  # from the end of a fault until every processor handled something; inf: never
    failures_after: int  # publishes and calls that began after the recovery and failed
    lateness: float  # the longest delay of a timer: how busy the machine or a handler was
    sockets: int  # connections to the broker before they were closed
    greenlets: tuple[str, ...]  # left after everything was stopped and closed
    memory_before: int
    memory_after: int
    unexpected: tuple[str, ...] = ()  # errors that Postage does not document

    @property
    def growth(self) -> float:
        """The growth of the memory, as a fraction of the memory before."""
        return self.memory_after / self.memory_before - 1

    def __str__(self) -> str:
        calls = ", ".join(f"{count} {outcome}" for outcome, count in sorted(self.calls.items()))
        before, after = self.memory_before / 1e6, self.memory_after / 1e6
        return "\n".join(
            (
                f"--- {self.title}",
                f"  time          {self.duration:.1f} s",
                f"  sent          {self.sent} ({self.confirmed} confirmed, {self.refused} refused)",
                f"  handled       {self.handled} ({self.duplicates} duplicates, {self.lost} lost)",
                f"  calls         {calls or 'none'}",
                f"  longest wait  {self.longest_wait:.2f} s ({self.overdue:+.2f} s over its limit)",
                f"  unfinished    {self.unfinished}",
                f"  recovery      {self.recovery:.2f} s; {self.failures_after} failures after it",
                f"  hub late by   {self.lateness:.2f} s",
                f"  left          {self.sockets} sockets, {len(self.greenlets)} greenlets",
                f"  memory        {before:.1f} MB, {after:.1f} MB after it ({self.growth:+.1%})",
                *(f"  unexpected    {error}" for error in self.unexpected),
            )
        )

    def as_line(self) -> str:
        """Return the report as a line of the table below `HEADER`."""
        calls = sum(self.calls.values())
        unanswered = calls - self.calls.get(ANSWERED, 0)
        return (
            f"{self.title[:43]:<44}{self.sent:>7}{self.confirmed:>7}{self.handled:>7}"
            f"{self.duplicates:>6}{self.lost:>6}{calls:>7}{unanswered:>7}{self.overdue:>8.2f}"
            f"{self.recovery:>9.2f}{self.sockets:>5}{len(self.greenlets):>5}"
            f"{self.memory_after / 1e6:>7.0f}{self.growth:>7.1%}"
        )


HEADER = (
    f"{'fault':<44}{'sent':>7}{'confd':>7}{'handld':>7}{'dupl':>6}{'lost':>6}{'calls':>7}{'unansw':>7}"
    f"{'over s':>8}{'recov s':>9}{'sock':>5}{'left':>5}{'MB':>7}{'grown':>7}"
)

Record = Callable[[RunReport], None]
"""Prints a report, and keeps it for the table at the end of the test run."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The largest values that a report may have."""

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


def violations(report: RunReport, limits: Limits) -> list[str]:
    """Return a text for each limit that *report* violates."""
    worked = report.handled > 0 and report.calls.get(ANSWERED, 0) > 0
    checks = {
        f"{report.lost} confirmed messages are lost": report.lost > limits.lost,
        f"{report.duplicates} duplicates": report.duplicates > limits.duplicates,
        f"{report.refused} publishes failed": report.refused > limits.refused,
        f"a wait of {report.overdue:.2f} s beyond its limit": report.overdue > limits.overdue,
        f"{report.unfinished} greenlets wait for ever": report.unfinished > 0,
        f"recovery after {report.recovery:.2f} s": report.recovery > limits.recovery,
        f"{report.failures_after} failures after recovery": report.failures_after > 0,
        f"{report.sockets} sockets": report.sockets != limits.sockets,
        f"greenlets left over: {report.greenlets}": bool(report.greenlets),
        f"memory grew by {report.growth:.1%}": report.growth > limits.growth,
        "nothing was handled, or no call answered": not worked,
    }
    outcomes = sorted(report.calls.keys() - limits.outcomes)
    return [
        *(text for text, is_violated in checks.items() if is_violated),
        *(f"{report.calls[outcome]} calls: {outcome}" for outcome in outcomes),
        *report.unexpected,
    ]


def check(report: RunReport, limits: Limits | None = None) -> None:
    """Raise AssertionError with all violations and the whole report, if there is any violation."""
    found = violations(report, limits or Limits())
    if found:
        raise AssertionError("\n".join(["", *(f"* {text}" for text in found), str(report)]))
