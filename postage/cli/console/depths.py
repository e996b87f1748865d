"""How many messages are in the queues of the components, and in their parking queues.  Pure.

AMQP tells the depth of a queue to whoever declares it passively, one queue at a time.  So queues
take turns, and a queue that does not exist is asked for less often: each such refusal costs a
channel.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from postage.cli.console.sightings import Sighting, items_at, text_at
from postage.cli.console.state import Entry, name_of
from postage.recoverability import parking_queue

__all__ = ["Depths"]

EVERY = 5.0
"""Seconds between two looks at a queue, if there are not too many."""
MISSING_EVERY = 30.0
"""Seconds after which a queue that did not exist is looked for again."""
MOST_QUEUES = 2000


@dataclass
class _Depth:
    depth: int | None = None
    consumers: int | None = None
    problem: str = ""
    due: float = 0.0


@dataclass
class _Queue:
    exchange: str
    parking: str
    components: list[str] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)


class Depths:
    """The queues of all components, and what is known of their depths."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._queues: dict[str, _Queue] = {}
        self._depths: dict[str, _Depth] = {}
        self._turns: list[tuple[float, str]] = []
        """When each queue is due, the next one first; a turn that is outdated is passed over."""

    def learn(self, sightings: Iterable[Sighting]) -> None:
        """Take the queues from what the components say they are."""
        self._queues = {}
        for each in sightings:
            park = text_at(each.info, "park")
            for binding in items_at(each.info, "queues", 50):
                self._add(text_at(binding, "queue"), binding, name_of(each), park)
        wanted = self._queues.keys() | {each.parking for each in self._queues.values()}
        for name in self._depths.keys() - wanted:
            del self._depths[name]
        for name in wanted - {""}:
            if name not in self._depths:
                self._note(name, _Depth())

    def _add(self, name: str, binding: object, component: str, park: str) -> None:
        if not name or (name not in self._queues and len(self._queues) >= MOST_QUEUES):
            return
        known = self._queues.get(name)
        if known is None:
            parking = parking_queue(park, name) if park else ""
            known = self._queues[name] = _Queue(text_at(binding, "exchange"), parking)
        for texts, text in ((known.components, component), (known.keys, text_at(binding, "key"))):
            if text and text not in texts:
                texts.append(text)

    def due(self) -> str | None:
        """Return the queue that has been due for the longest time; None if none is."""
        while self._turns and self._turns[0][0] <= self._clock():
            due, name = self._turns[0]
            if name in self._depths and self._depths[name].due == due:
                return name
            heapq.heappop(self._turns)
        return None

    def found(self, name: str, depth: int, consumers: int) -> None:
        """Note the depth of the queue *name*, and how many consumers it has."""
        self._note(name, _Depth(depth, consumers, due=self._clock() + EVERY))

    def refused(self, name: str, problem: str) -> None:
        """Note that the broker does not tell the depth of *name*; no *problem*: it is not there."""
        self._note(name, _Depth(problem=problem, due=self._clock() + MISSING_EVERY))

    def entries(self) -> dict[str, Entry]:
        """Return the queues as entries of the state."""
        return {name: self._entry(name, queue) for name, queue in sorted(self._queues.items())}

    def _entry(self, name: str, queue: _Queue) -> Entry:
        known, parked = self._depths[name], self._depths.get(queue.parking, _Depth())
        return {
            "name": name,
            "components": queue.components,
            "keys": queue.keys,
            "exchange": queue.exchange,
            "depth": known.depth,
            "consumers": known.consumers,
            "parking": queue.parking or None,
            "parked": parked.depth,
            "problem": known.problem,
        }

    def look_soon(self, name: str) -> None:
        """Look at the queue *name* soon: something has been done to it."""
        if name in self._depths:
            self._note(name, replace(self._depths[name], due=0.0))

    def look_for_parked(self, sightings: Iterable[Sighting]) -> None:
        """Look soon for missing parking queues into which components have put messages of late."""
        for each in sightings:
            if not each.rates.get(("parked",)):
                continue
            for binding in items_at(each.info, "queues", 50):
                queue = self._queues.get(text_at(binding, "queue"))
                if queue is not None and self._is_missing(queue.parking):
                    self.look_soon(queue.parking)

    def _is_missing(self, name: str) -> bool:
        known = self._depths.get(name)
        return known is not None and known.depth is None and not known.problem

    def _note(self, name: str, known: _Depth) -> None:
        self._depths[name] = known
        heapq.heappush(self._turns, (known.due, name))
