"""The account of a run: what was sent, what became of it, how long anybody waited, what is left."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

ANSWERED = "answered"
WRONG = "wrong answer"
OUTCOMES = frozenset({ANSWERED, "TimeoutError", "NoRoute", "ConnectionLost"})
"""What a call may come to while something is broken."""


@dataclass(frozen=True, kw_only=True)
class Account:
    """One run.  Durations are seconds, memory is in bytes."""

    title: str
    """What went wrong in it."""
    seconds: float
    """How long it took, from the first message to the last."""
    sent: int
    """Messages that publishers have tried to send."""
    confirmed: int
    """Those whose call has returned: the broker had taken them."""
    refused: int
    """Those whose call has raised."""
    handled: int
    """Messages that a handler has finished, each counted once."""
    duplicates: int
    """How often one was finished again."""
    lost: int
    """Messages that were confirmed, and never handled."""
    calls: Mapping[str, int]
    """How many calls came to which outcome."""
    longest: float
    """The longest that anybody waited."""
    overdue: float
    """The longest wait beyond its own limit; below 0 where all were in time."""
    unfinished: int
    """Greenlets of the load that still waited when all limits were over."""
    again: float
    """From the end of the trouble until every processor had handled something new; inf: never."""
    failures_after: int
    """Publishes and calls that began when all consumed again, and failed nevertheless."""
    lateness: float
    """The longest time that the hub was late for a timer: how busy the machine, or a handler, was.
    """
    sockets: int
    """Connections to the broker at the end, before they were closed."""
    greenlets: tuple[str, ...]
    """Those that were left when everything was stopped and closed."""
    memory_before: int
    """Resident memory under load, before the trouble."""
    memory_after: int
    """The same, after it."""
    surprises: tuple[str, ...] = ()
    """Errors that nobody promised."""

    @property
    def growth(self) -> float:
        """By which part the memory has grown."""
        return self.memory_after / self.memory_before - 1

    def __str__(self) -> str:
        """Return the table."""
        width = max(len(name) for name, _ in self._rows())
        lines = [f"  {name:<{width}}  {text}" for name, text in self._rows()]
        return "\n".join([f"--- {self.title}", *lines])

    def _rows(self) -> Iterator[tuple[str, str]]:
        yield "time", f"{self.seconds:.1f} s"
        yield "sent", f"{self.sent} ({self.confirmed} confirmed, {self.refused} refused)"
        yield "handled", f"{self.handled} ({self.duplicates} duplicates, {self.lost} lost)"
        yield "calls", ", ".join(f"{n} {what}" for what, n in sorted(self.calls.items())) or "none"
        yield "longest wait", f"{self.longest:.2f} s ({self.overdue:+.2f} s beyond its limit)"
        yield "unfinished", str(self.unfinished)
        yield "consuming again", f"after {self.again:.2f} s; {self.failures_after} failures later"
        yield "hub late by", f"{self.lateness:.2f} s"
        yield (
            "left",
            f"{self.sockets} sockets before, {len(self.greenlets)} greenlets after the end",
        )
        before, after = (part / 1e6 for part in (self.memory_before, self.memory_after))
        yield "memory", f"{before:.1f} MB before, {after:.1f} MB after ({self.growth:+.1%})"
        for surprise in self.surprises:
            yield "surprise", surprise


Keep = Callable[[Account], None]
"""What keeps an account for the end of the run."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What may be in an account."""

    lost: int = 0
    """Messages that went with their queue."""
    duplicates: float = math.inf
    """What the trouble leaves in doubt may come twice; where it leaves nothing in doubt: 0."""
    overdue: float = 0.5
    """How much longer than its limit a wait may take."""
    again: float = 5.0
    """Seconds until all consume again."""
    growth: float = 0.10
    """By which part the memory may have grown."""
    sockets: int = 2
    """Connections to the broker."""
    outcomes: frozenset[str] = field(default=OUTCOMES)
    """What calls may come to."""
    refused: float = math.inf
    """How many publishes may have failed within their limit."""


def findings(account: Account, limits: Limits) -> list[str]:
    """Return all that is wrong with *account*."""
    wrong = {
        f"{account.lost} confirmed messages are lost": account.lost > limits.lost,
        f"{account.duplicates} duplicates": account.duplicates > limits.duplicates,
        f"{account.refused} publishes failed": account.refused > limits.refused,
        f"a wait of {account.overdue:.2f} s beyond its limit": account.overdue > limits.overdue,
        f"{account.unfinished} greenlets wait for ever": account.unfinished > 0,
        f"consuming again after {account.again:.2f} s": account.again > limits.again,
        f"{account.failures_after} failures after that": account.failures_after > 0,
        f"{account.sockets} sockets": account.sockets != limits.sockets,
        f"greenlets left over: {account.greenlets}": bool(account.greenlets),
        f"memory grew by {account.growth:.1%}": account.growth > limits.growth,
        "nothing was handled, or no call answered": not _has_worked(account),
    }
    strange = account.calls.keys() - limits.outcomes
    outcomes = [f"{account.calls[outcome]} calls: {outcome}" for outcome in sorted(strange)]
    return [what for what, is_so in wrong.items() if is_so] + outcomes + list(account.surprises)


def judge(account: Account, limits: Limits | None = None) -> None:
    """Raise AssertionError with all that is wrong with *account*, and the table."""
    wrong = findings(account, limits or Limits())
    if wrong:
        raise AssertionError("\n".join(["", *(f"* {what}" for what in wrong), str(account)]))


def _has_worked(account: Account) -> bool:
    """Tell whether there was a load at all: an empty account has no fault either."""
    return account.handled > 0 and account.calls.get(ANSWERED, 0) > 0


HEADER = (
    f"{'fault':<44}{'sent':>7}{'confd':>7}{'handld':>7}{'dupl':>6}{'lost':>6}{'calls':>7}{'unansw':>7}"
    f"{'over s':>8}{'again s':>8}{'sock':>5}{'left':>5}{'MB':>7}{'grown':>7}"
)


def line(account: Account) -> str:
    """Return *account* as a line of a table, below `HEADER`."""
    calls = sum(account.calls.values())
    return (
        f"{account.title[:43]:<44}{account.sent:>7}{account.confirmed:>7}{account.handled:>7}"
        f"{account.duplicates:>6}{account.lost:>6}{calls:>7}"
        f"{calls - account.calls.get(ANSWERED, 0):>7}{account.overdue:>8.2f}{account.again:>8.2f}"
        f"{account.sockets:>5}{len(account.greenlets):>5}{account.memory_after / 1e6:>7.0f}"
        f"{account.growth:>7.1%}"
    )
