"""The processors that have answered, with their rates, and those that have stopped.  Pure.

How it works
------------
A processor tells counts since its start, and its uptime by its own clock.  A rate is the growth of
a count by the growth of the uptime, over the answers of the last `WINDOW` rounds.  So it does not
matter how long an answer was on its way.

An answer may come just before a message or just after it.  For a flow of four messages in two
seconds that would be a quarter more or less.  So a flow also tells when its last message came, and
its rate is the growth of its count by the time from message to message: exact after a few messages.

Other programs wrote the answers, so every value may be of any type.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from postage.cli.fleet.descriptions import LARGEST, Description, handled

__all__ = ["CounterKey", "Sighting", "Sightings", "amount_at", "items_at", "text_at"]

WINDOW = 6
"""Answers of a processor that its rates are computed over."""
MISSES = 2
"""Rounds without an answer after which a processor has gone."""
KEPT = 60.0
"""Seconds for which a processor that has gone is still shown."""
SHORTEST = 0.5
"""Seconds that counts must have grown over: a rate over less would be a guess."""
SILENCE = 3
"""Usual pauses between two messages after which a flow that is silent counts as slower."""
MOST = 5000
"""Processors that are kept."""
LONGEST = 200
"""Characters of a text that are kept."""

_NUMBERS = frozenset({int, float})  # and not bool
_COUNTED = "messages", "failed"

CounterKey = tuple[str, ...]
"""What a count belongs to: ``("handled",)``, ``("failed",)``, ``(handler, "received")``,
``(handler, "failed")``, or a flow: ``(handler, sender, exchange, category, "messages")``."""


def text_at(values: Any, *path: str, longest: int = LONGEST) -> str:
    """Return the text at *path*, cut; an empty text if there is none."""
    for key in path:
        values = values.get(key) if isinstance(values, dict) else None
    return values[:longest] if isinstance(values, str) else ""


def amount_at(values: Any, *path: str) -> float | None:
    """Return the number at *path*; None if there is none, or if it is negative."""
    for key in path:
        values = values.get(key) if isinstance(values, dict) else None
    return values if type(values) in _NUMBERS and 0 <= values < LARGEST else None


def items_at(values: Any, key: str, most: int) -> Iterator[Any]:
    """Yield the first *most* items of the list at *key*, if there is one."""
    found = values.get(key) if isinstance(values, dict) else None
    if isinstance(found, list):
        yield from found[:most]


Counts = dict[CounterKey, float]


class Sample:
    """What a processor has told in one answer, after so many seconds of *uptime*."""

    __slots__ = ("counts", "last_at", "uptime")

    def __init__(self, uptime: float, told: Description) -> None:
        self.uptime = uptime
        self.counts: Counts = {("handled",): handled(told) or 0}
        """All counts since its start."""
        self.last_at: Counts = {}
        """At which uptime the last message of a flow came, where it is known."""
        for name in ("failed", "retried", "delayed", "parked"):
            self.counts[(name,)] = amount_at(told, "statistics", name) or 0
        for each in items_at(told, "handlers", 200):
            handler = text_at(each, "handler")
            if handler:
                for name in ("received", "failed"):
                    self.counts[handler, name] = amount_at(each, name) or 0
                for flow in items_at(each, "flows", 100):
                    self._add(handler, flow)

    def _add(self, handler: str, flow: Any) -> None:
        if not isinstance(flow, list) or len(flow) < 5:  # noqa: PLR2004 - see postage.discovery
            return
        sender, exchange, category = (
            each[:LONGEST] if isinstance(each, str) else "" for each in flow[:3]
        )
        if not sender or category not in ("rpc", "message"):
            return
        messages, failed = ((handler, sender, exchange, category, name) for name in _COUNTED)
        self.counts[messages], self.counts[failed] = (amount_at(each) or 0 for each in flow[3:5])
        idle = amount_at(flow[5]) if len(flow) > 5 else None  # noqa: PLR2004 - as above
        if idle is not None and idle <= self.uptime:
            self.last_at[messages] = self.uptime - idle


def rates_of(samples: Sequence[Sample]) -> Counts:
    """Return the growth of each count in a second; empty if the *samples* are too close."""
    old, new = samples[0], samples[-1]
    seconds = new.uptime - old.uptime
    if seconds < SHORTEST:
        return {}
    rates = {}
    for key, count in new.counts.items():
        growth = max(0.0, count - old.counts.get(key, 0))
        if len(key) > 2:  # noqa: PLR2004 - a flow
            # A flow that grew faster than its handler was left out of the older answer.
            received = key[0], "received"
            growth = min(growth, max(0.0, new.counts[received] - old.counts.get(received, 0)))
        rates[key] = growth / seconds
    for key in new.last_at:
        rate = _rate_between_messages(key, samples)
        if rate is not None:
            rates[key] = rate
    return rates


def _rate_between_messages(flow: CounterKey, samples: Sequence[Sample]) -> float | None:
    """Return the rate of *flow* by the times of its messages; None if there are not two times.

    A flow that has been silent for longer than `SILENCE` of its usual pauses has become slower.
    """
    new = samples[-1]
    old = next(each for each in samples if flow in each.last_at)
    messages = new.counts[flow] - old.counts[flow]
    seconds = new.last_at[flow] - old.last_at[flow]
    if messages <= 0 or seconds <= 0:
        return None
    silence = new.uptime - new.last_at[flow]
    return messages / (seconds + max(0.0, silence - SILENCE * seconds / messages))


class Sighting:
    """One processor, by its last answers."""

    def __init__(self, told: Description) -> None:
        self.told = told
        self.info: Description = {}
        """What it is: the answer to ``info``, if there was one."""
        self.rates: Counts = {}
        """The growth of each count in a second; empty until there are two answers to compare."""
        self.started: float | None = None
        """When it was started, in seconds since the epoch by the clock of this process."""
        self.gone_since: float | None = None
        self.misses = 0
        self._samples: deque[Sample] = deque(maxlen=WINDOW)
        self._note(told)

    @property
    def counts(self) -> Counts:
        """All counts since the start of the processor."""
        return self._samples[-1].counts if self._samples else {}

    def answer(self, told: Description) -> None:
        """Take another answer."""
        self.told, self.misses, self.gone_since = told, 0, None
        self._note(told)

    def _note(self, told: Description) -> None:
        uptime = amount_at(told, "uptime")
        if uptime is None:
            return
        if self._samples and uptime < self._samples[-1].uptime:  # it has been started again
            self._samples.clear()
            self.started = None
        if self.started is None:
            started = round(time.time() - uptime)
            self.started = started if started > 0 else None  # else its clock cannot be right
        if self._samples and uptime == self._samples[-1].uptime:
            return  # the same answer twice
        self._samples.append(Sample(uptime, told))
        self.rates = rates_of(self._samples)

    @property
    def handlers(self) -> dict[str, Any]:
        """What it has told of its handlers, by their names."""
        return {text_at(each, "handler"): each for each in items_at(self.told, "handlers", 200)}


class Sightings:
    """All processors that are there, and those that have stopped answering lately."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._known: dict[tuple[str, str], Sighting] = {}

    def update(self, answers: Iterable[Description]) -> None:
        """Record who has answered in this round; who has not for `MISSES` rounds has gone."""
        now, answered = self._clock(), set()
        for told in answers:
            identity = _identity(told)
            answered.add(identity)
            known = self._known.get(identity)
            if known is not None:
                known.answer(told)
            elif len(self._known) < MOST:
                self._known[identity] = Sighting(told)
        for identity, known in list(self._known.items()):
            if identity not in answered:
                known.misses += 1
                if known.misses >= MISSES and known.gone_since is None:
                    known.gone_since = now
            if known.gone_since is not None and now - known.gone_since > KEPT:
                del self._known[identity]

    def learn(self, infos: Iterable[Description]) -> None:
        """Record what processors are."""
        for each in infos:
            known = self._known.get(_identity(each))
            if known is not None:
                known.info = each

    def end(self, instance: object, key: object) -> None:
        """Record that the processor *key* of the process *instance* has said good-bye."""
        known = self._known.get((str(instance), str(key)))
        if known is not None and known.gone_since is None:
            known.gone_since = self._clock()

    @property
    def are_described(self) -> bool:
        """Whether it is known of all processors what they are."""
        return all(each.info for each in self)

    @property
    def are_missed(self) -> bool:
        """Whether a processor that is not known to have gone did not answer in the last round."""
        return any(each.misses and each.gone_since is None for each in self)

    def __iter__(self) -> Iterator[Sighting]:
        return iter(self._known.values())


def _identity(told: Description) -> tuple[str, str]:
    return str(told.get("instance"))[:LONGEST], str(told.get("key"))[:LONGEST]
