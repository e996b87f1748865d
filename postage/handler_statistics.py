"""What the handlers of one processor have done: how often, how fast, for whom, with what errors.

How it works
------------
A processor has a `HandlerTally` for each of its handlers that has run.  `HandlerTally.begin` is
called before each run, and `HandlerTally.took` after it, for every message: so both do as little as
possible.  How long a run took is only put into a list.  After a hundred runs, or when somebody asks
(`HandlerTally.statistics`), the list is sorted into the histogram, which then costs a tenth of what
each run for itself would cost.

A tally also counts the messages by their flows: who has sent them, and through which exchange.  To
look at the sender of every message would cost a busy process two percent.  So only some messages
are looked at, and each of them stands for those before it.  While somebody watches, such as the
console (`watch`), every message is looked at, and the counts grow exactly.

The memory of a tally is bounded, whatever peers send: a histogram has a fixed number of buckets,
and only the first `MOST_FLOWS` flows have counts of their own.
"""

from __future__ import annotations

import math
import time
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from random import random
from typing import Any, NamedTuple, Protocol

from postage.fingerprint import NAMELESS
from postage.foreign_text import one_line
from postage.recoverability import RETURNING, first_exchange

clock = time.perf_counter
"""The clock by which runs are timed."""

__all__ = [
    "BOUNDS",
    "EXACT",
    "LONGEST_ERROR",
    "LONGEST_NAME",
    "MOST_FLOWS",
    "Arrived",
    "Flow",
    "FlowCount",
    "FlowCounts",
    "HandlerStatistics",
    "HandlerTallies",
    "HandlerTally",
    "clock",
    "flow_of",
    "quantile",
    "watch",
]

BOUNDS: Sequence[float] = tuple(
    float(f"{step}e{power}") for power in range(-5, 3) for step in (1, 1.5, 2, 3, 5, 7)
)
"""The upper bounds of the buckets of a histogram, in seconds: 10 µs to 700 s, six for each power of
ten.  One more bucket has what took longer."""
LONGEST_ERROR = 200
"""Characters that are kept of the text of an error."""

EXACT = 50
"""Runs whose senders are all looked at.  Later it is one of `PAUSE`, unless somebody watches."""
PAUSE = 16
_MOST_RECENT = 100

MOST_FLOWS = 50
"""How many flows of a handler have counts of their own."""
LONGEST_NAME = 100
"""Characters of the longest name of a sender or exchange that is counted."""


class Flow(NamedTuple):
    """The messages of one sender to one handler through one exchange."""

    sender: str
    """The name in the fingerprint of the sender; ``pid@host`` if it has no name."""
    exchange: str
    """Where the messages were published; empty: the default exchange."""
    category: str
    """``rpc`` or ``message``."""


class FlowCount(NamedTuple):
    """A flow, and its counts."""

    sender: str
    exchange: str
    category: str
    messages: int
    """Messages that the handler has begun to handle; further tries are not counted."""
    failed: int
    """Messages for which it has raised an error, after all tries at once."""
    idle: float | None
    """Seconds since its last message; None if not every message was looked at then."""


class Arrived(Protocol):
    """How a message came."""

    @property
    def exchange(self) -> str:
        """Where it was published; that of the delay queue if it comes from one."""

    @property
    def routing_key(self) -> str:
        """Its routing key."""

    @property
    def properties(self) -> Any:
        """Its properties, which are decoded when somebody looks."""


def flow_of(body: Mapping[str, Any], exchange: str) -> Flow | None:
    """Return the flow of the message *body* from *exchange*; None if it has no sender to name."""
    fingerprint = body.get("fingerprint")
    if not isinstance(fingerprint, dict):
        return None
    sender = fingerprint.get("name")
    if sender in (None, NAMELESS):
        pid, host = fingerprint.get("pid"), fingerprint.get("host")
        sender = f"{pid}@{host}" if isinstance(pid, str) and isinstance(host, str) else None
    if not isinstance(sender, str) or not 0 < len(sender) <= LONGEST_NAME >= len(exchange):
        return None
    return Flow(sender, exchange, str(body.get("category")))


class FlowCounts:
    """Counts messages by their flows; for the thread of one hub."""

    __slots__ = ("_counts", "others")

    def __init__(self) -> None:
        self._counts: dict[Flow, _Counts] = {}
        self.others = 0
        """Messages of flows that have no counts of their own."""

    def add(self, flow: Flow | None, messages: int, at: float | None = None) -> None:
        """Count *messages* of *flow*, the last one at this time; None: nobody knows whose, when."""
        counts = self._of(flow)
        if counts is None:
            self.others += messages
        else:
            counts.messages += messages
            counts.last_at = at

    def fail(self, flow: Flow | None) -> None:
        """Count a message of *flow* as failed, if the flow has counts of its own."""
        counts = self._of(flow)
        if counts is not None:
            counts.failed += 1

    def _of(self, flow: Flow | None) -> _Counts | None:
        if flow is None:
            return None
        counts = self._counts.get(flow)
        if counts is None and len(self._counts) < MOST_FLOWS:
            counts = self._counts[flow] = _Counts()
        return counts

    def __iter__(self) -> Iterator[FlowCount]:
        now = time.monotonic()
        for flow, counts in self._counts.items():
            idle = None if counts.last_at is None else now - counts.last_at
            yield FlowCount(*flow, counts.messages, counts.failed, idle)


class _Counts:
    """What is counted of one flow."""

    __slots__ = ("failed", "last_at", "messages")

    def __init__(self) -> None:
        self.messages = self.failed = 0
        self.last_at: float | None = None
        """When the last message came, by `time.monotonic`."""


# --- somebody watches

_watched_until = 0.0


def watch(seconds: float) -> None:
    """Let all flows of this process be counted exactly for so many *seconds*."""
    global _watched_until  # noqa: PLW0603 - all handlers of the process are watched, or none
    _watched_until = max(_watched_until, time.monotonic() + seconds)


def is_watched() -> bool:
    """Tell whether somebody watches now."""
    return time.monotonic() < _watched_until


# --- one handler


class HandlerTally:
    """Counts the runs of one handler of one processor; for the thread of its hub."""

    __slots__ = (
        "_buckets",
        "_flows",
        "_last_flow",
        "_looked_at",
        "_recent",
        "_seconds",
        "begun",
        "delayed",
        "due",
        "failed",
        "last_error",
        "last_error_at",
        "parked",
        "retried",
        "took",
    )

    def __init__(self) -> None:
        self.begun = 0
        """How many runs have begun."""
        self.due, self._looked_at = 1, 0
        """At which run `look` is called next, and at which it was last."""
        self._flows = FlowCounts()
        self._last_flow: Flow | None = None
        self._recent: list[float] = []
        """How long the last runs took, which are not in the next two yet."""
        self.took = self._recent.append
        """Notes how many seconds a run took that has ended."""
        self._seconds = 0.0
        self._buckets: list[int] = []  # made by the first `_sort_in`: it takes 400 bytes
        self.failed = self.retried = self.delayed = self.parked = 0
        """See `HandlerStatistics`."""
        self.last_error, self.last_error_at = "", 0.0

    def begin(self, body: dict[str, Any], arrived: Arrived | None) -> float:
        """Note that a run for the message *body* begins; return the time.

        *arrived* is how the message came; None: this is a further try, and counts for no sender.

        When it has ended, in whatever way, call `took` with the seconds that it took.
        """
        self.begun = begun = self.begun + 1
        if begun >= self.due:
            self.look(body, arrived)
        return clock()

    def look(self, body: dict[str, Any], arrived: Arrived | None) -> None:
        """Count the flow of *body*, also for the runs since the last look; sort runs in.

        The pauses are random, because senders may take turns.
        """
        is_exact = self.begun < EXACT or is_watched()
        exchange = None if arrived is None else arrived.exchange
        if arrived is not None and exchange in RETURNING:
            exchange = first_exchange(arrived)
        if exchange is not None:  # a further try counts for nobody, nor do the runs it stands for
            self._last_flow = flow = flow_of(body, exchange)
            messages = self.begun - self._looked_at
            at = time.monotonic() if is_exact and messages == 1 else None
            self._flows.add(flow, messages, at)
        self._looked_at = self.begun
        # random() costs a fifth of randrange().
        pause = 1 if is_exact else 1 + int(random() * (2 * PAUSE - 1))  # noqa: S311 - no secret
        self.due = self.begun + pause
        if len(self._recent) > _MOST_RECENT:
            self._sort_in()

    def watch(self) -> None:
        """Look at the next run, and count all before it; see `watch` of this module."""
        if self.begun > self._looked_at:
            self._flows.add(self._last_flow, self.begun - self._looked_at)
            self._looked_at = self.begun
        self.due = self.begun + 1

    def _sort_in(self) -> None:
        """Sort the last runs into the histogram."""
        self._buckets = buckets = self._buckets or [0] * (len(BOUNDS) + 1)
        recent, after = self._recent, 0
        recent.sort()
        while after < len(recent):  # once for each bucket that has any of them
            before, place = after, bisect_left(BOUNDS, recent[after])
            within = BOUNDS[place] if place < len(BOUNDS) else math.inf
            after = bisect_right(recent, within, before)
            buckets[place] += after - before
        self._seconds += sum(recent)
        recent.clear()

    def count(self, what: str) -> None:
        """Count a message as ``delayed`` or ``parked``, or a run as ``retried``."""
        setattr(self, what, getattr(self, what) + 1)

    def count_failed(self, flow: Flow | None) -> None:
        """Count a message of *flow* as failed."""
        self.failed += 1
        self._flows.fail(flow)

    def note_error(self, error: BaseException) -> None:
        """Keep the kind and the text of *error*, which the handler has raised."""
        text = one_line(error, LONGEST_ERROR)
        self.last_error = f"{type(error).__name__}{text and f': {text}'}"
        self.last_error_at = time.time()

    def statistics(self, handler: str) -> HandlerStatistics:
        """Return a snapshot, for the handler of this name."""
        self._sort_in()
        begun, ended = self.begun, sum(self._buckets)
        return HandlerStatistics(
            handler=handler,
            received=begun - self.retried,
            in_flight=begun - ended,
            failed=self.failed,
            retried=self.retried,
            delayed=self.delayed,
            parked=self.parked,
            seconds=self._seconds,
            buckets=tuple(self._buckets),
            flows=tuple(self._flows),
            other_senders=self._flows.others,
            last_error=self.last_error,
            last_error_at=self.last_error_at,
        )


class HandlerTallies(dict[str, HandlerTally]):
    """The tallies of a processor, by the attribute of the handler; made at the first run."""

    def __missing__(self, handler: str) -> HandlerTally:
        tally = self[handler] = HandlerTally()
        return tally

    def watch(self) -> None:
        """Look at the next run of each handler; see `HandlerTally.watch`."""
        for tally in self.values():
            tally.watch()

    def statistics(self) -> tuple[HandlerStatistics, ...]:
        """Return a snapshot of each handler that has run, in the order of their first runs."""
        return tuple(tally.statistics(handler) for handler, tally in self.items())


@dataclass(frozen=True, kw_only=True)
class HandlerStatistics:
    """One handler of one processor, since the processor was made."""

    handler: str
    """The attribute of the processor that is the handler."""
    received: int
    """Messages that it has begun to handle."""
    in_flight: int
    """Runs that have not ended."""
    failed: int
    """Messages for which it has raised an error, after all tries at once."""
    retried: int
    """Runs that were tries at once, for messages that had failed before."""
    delayed: int
    """Messages that failed and were given to the broker, to be handled again later."""
    parked: int
    """Messages that failed and were put into a parking queue."""
    seconds: float
    """How long all its runs that have ended took together.  Filters are a part of a run, and so is
    the time in which the handler waits."""
    buckets: tuple[int, ...]
    """How many runs have ended within each of `BOUNDS` and not within the one before it; the last
    one: how many took longer."""
    flows: tuple[FlowCount, ...]
    """Its messages by sender and exchange, for the first flows: exact up to `EXACT` runs, and while
    somebody watches, else about."""
    other_senders: int
    """Its messages of all other flows, and those that name no sender."""
    last_error: str
    """The last error that it has raised, on one line, or an empty text."""
    last_error_at: float
    """When, by `time.time`; 0 if there was none."""

    @property
    def mean(self) -> float | None:
        """How many seconds a run took on average; None before the end of the first one."""
        ended = sum(self.buckets)
        return self.seconds / ended if ended else None

    @property
    def senders(self) -> dict[str, int]:
        """The messages of `flows` by sender."""
        found = Counter[str]()
        for each in self.flows:
            found[each.sender] += each.messages
        return dict(found)

    def quantile(self, share: float) -> float | None:
        """Return within how many seconds this *share* of the runs has ended, about; see below."""
        return quantile(self.buckets, share)


def quantile(buckets: Iterable[int], share: float) -> float | None:
    """Return the time within which *share* of the runs in these *buckets* have ended, in seconds.

    It is interpolated in its bucket, so it is wrong by a third at most.  A run that took longer
    than the last of `BOUNDS` counts as this one.  None if the buckets are empty.
    """
    sums = list(accumulate(buckets))
    if not sums or not sums[-1]:
        return None
    rank = share * sums[-1]
    place = bisect_left(sums, rank)
    if place >= len(BOUNDS):
        return BOUNDS[-1]
    before = sums[place - 1] if place else 0
    low = BOUNDS[place - 1] if place else 0.0
    part = (rank - before) / (sums[place] - before)
    return low + (BOUNDS[place] - low) * part
