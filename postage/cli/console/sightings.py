"""The processors that have answered, with their rates, and those that have stopped.  Pure.

How it works
------------
A processor tells counts since its start, and its uptime by its own clock.  A rate is the growth of
a count by the growth of the uptime, over the answers of the last `WINDOW` rounds.  So it does not
matter how long an answer was on its way, and a slow rate is still exact.

Other programs wrote the answers, so every value may be of any type.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from postage.cli.fleet.descriptions import LARGEST, Description, handled

__all__ = ["CounterKey", "Sighting", "Sightings", "amount_at", "items_at", "text_at"]

WINDOW = 6
"""Answers of a processor that its rates are computed over."""
MISSES = 2
"""Rounds without an answer after which a processor has gone."""
KEPT = 60.0
"""Seconds for which a processor that has gone is still shown."""
MOST = 5000
"""Processors that are kept."""
LONGEST = 200
"""Characters of a text that are kept."""

_NUMBERS = frozenset({int, float})  # and not bool

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


def counts_of(told: Description) -> dict[CounterKey, float]:
    """Return all counts in what a processor has *told*."""
    found: dict[CounterKey, float] = {}
    for name in ("failed", "retried", "delayed", "parked"):
        found[(name,)] = amount_at(told, "statistics", name) or 0
    found[("handled",)] = handled(told) or 0
    for each in items_at(told, "handlers", 200):
        handler = text_at(each, "handler")
        if handler:
            for name in ("received", "failed"):
                found[handler, name] = amount_at(each, name) or 0
            for flow in items_at(each, "flows", 100):
                found |= _flow_counts(handler, flow)
    return {key: count for key, count in found.items() if count >= 0}


def _flow_counts(handler: str, flow: Any) -> dict[CounterKey, float]:
    if not isinstance(flow, list) or len(flow) < 5:  # noqa: PLR2004 - see postage.discovery
        return {}
    sender, exchange, category = (
        each[:LONGEST] if isinstance(each, str) else "" for each in flow[:3]
    )
    if not sender or category not in ("rpc", "message"):
        return {}
    counts = {"messages": flow[3], "failed": flow[4]}
    where = handler, sender, exchange, category
    return {(*where, name): amount_at(counts, name) or 0 for name in counts}


def _rates(
    old: dict[CounterKey, float], new: dict[CounterKey, float], seconds: float
) -> Iterator[tuple[CounterKey, float]]:
    """Yield the growth of each count in a second.

    A flow cannot grow faster than its handler: one that did was left out of the older answer.
    """
    for key, count in new.items():
        growth = max(0.0, count - old.get(key, 0))
        if len(key) > 2:  # noqa: PLR2004 - a flow
            received = key[0], "received"
            growth = min(growth, max(0.0, new.get(received, 0) - old.get(received, 0)))
        yield key, growth / seconds


class Sighting:
    """One processor, by its last answers."""

    def __init__(self, told: Description) -> None:
        self.told = told
        self.info: Description = {}
        """What it is: the answer to ``info``, if there was one."""
        self.rates: dict[CounterKey, float] = {}
        """The growth of each count in a second; empty until there are two answers."""
        self.started: float | None = None
        """When it was started, in seconds since the epoch by the clock of this process."""
        self.gone_since: float | None = None
        self.misses = 0
        self._samples: deque[tuple[float, dict[CounterKey, float]]] = deque(maxlen=WINDOW)
        self._note(told)

    @property
    def counts(self) -> dict[CounterKey, float]:
        """All counts since the start of the processor."""
        return self._samples[-1][1] if self._samples else {}

    def answer(self, told: Description) -> None:
        """Take another answer."""
        self.told, self.misses, self.gone_since = told, 0, None
        self._note(told)

    def _note(self, told: Description) -> None:
        uptime = amount_at(told, "uptime")
        if uptime is None:
            return
        if self._samples and uptime < self._samples[-1][0]:  # it has been started again
            self._samples.clear()
            self.started = None
        if self.started is None:
            started = round(time.time() - uptime)
            self.started = started if started > 0 else None  # else its clock cannot be right
        if self._samples and uptime == self._samples[-1][0]:
            return  # the same answer twice
        self._samples.append((uptime, counts_of(told)))
        (before, old), (after, new) = self._samples[0], self._samples[-1]
        if after > before:
            self.rates = dict(_rates(old, new, after - before))

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
