"""What Prometheus gets to know of this process, as families of samples.

How it works
------------
Nothing is counted for Prometheus alone: `families` reads the statistics that processors, handlers
and connections keep anyway, when somebody asks.  The series are bounded: at most `MOST_PROCESSORS`
processors have series of their own, and the others share those named `OTHERS`.  Processors of the
same class and name share series, too, because their labels are the same.

Reading many processors takes some milliseconds, so `families` is a generator: its caller lets other
greenlets run between two of its turns.
"""

from __future__ import annotations

import gc
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from itertools import accumulate
from typing import Any, TypeAlias

from greenlet import greenlet

from postage._version import __version__
from postage.flight_recorder import flight_recorder
from postage.foreign_text import one_line
from postage.green.amqp.confirms import confirm_totals
from postage.green.amqp.hub_monitor import hub_monitor
from postage.green.runtime import statistics
from postage.handler_statistics import BOUNDS, HandlerStatistics
from postage.metrics.exposition import Family, labels_text

__all__ = ["BUCKETS", "MOST_PROCESSORS", "OTHERS", "Measurements"]

MOST_PROCESSORS = 1000
"""Processors that have series of their own, by class and name."""
OTHERS = "(others)"
"""The class and the name of all further ones."""
LONGEST_NAME = 100
"""Characters that are kept of a name."""
BUCKETS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 50.0)
"""The upper bounds of the histogram of handlers, in seconds: a choice of those that are counted."""

CHUNK = 50_000
"""Objects that are looked at in one turn, to find the greenlets."""

_BELOW = [(BOUNDS.index(bound), f'le="{bound!r}"') for bound in BUCKETS]
_PROCESSED = ("handled", "unhandled", "malformed", "expired", "poisonous", "duplicates", "stale")
_HANDLED = {
    "received": "Messages that the handler has begun to handle.",
    "failed": "Messages for which the handler has raised an error, after all tries at once.",
    "retried": "Runs that were tries at once, for messages that had failed before.",
    "delayed": "Messages that failed and were given to the broker, to be handled again later.",
    "parked": "Messages that failed and were put into a parking queue.",
}
_PAGE = os.sysconf("SC_PAGE_SIZE")


Turns: TypeAlias = Iterator[Family | None]
"""Families, and None wherever other greenlets may run."""


class _Sums:
    """The sums of all handlers with the same labels."""

    def __init__(self) -> None:
        self.counts = dict.fromkeys((*_HANDLED, "in_flight"), 0)
        self.seconds, self.buckets = 0.0, [0] * (len(BOUNDS) + 1)

    def add(self, each: HandlerStatistics) -> None:
        for name in self.counts:
            self.counts[name] += getattr(each, name)
        self.seconds += each.seconds
        self.buckets = [a + b for a, b in zip(self.buckets, each.buckets, strict=True)]


class Measurements:
    """Reads *processors*; *worker* is the number of this process, or None without workers."""

    def __init__(self, processors: Iterable[Any], worker: int | None = None) -> None:
        self._processors = processors
        self._worker = () if worker is None else (("worker", str(worker)),)

    def families(self) -> Turns:
        """Yield the families, and None wherever the caller may let other greenlets run."""
        by_handler: defaultdict[tuple[str, str, str], _Sums] = defaultdict(_Sums)
        by_processor: dict[tuple[str, str], dict[str, int]] = {}
        for processor in list(self._processors):
            key = self._key(processor, by_processor)
            counts = by_processor.setdefault(key, dict.fromkeys((*_PROCESSED, "waiting"), 0))
            read = processor.statistics()
            for name in counts:
                counts[name] += getattr(read, name)
            for each in processor.handler_statistics():
                labels = *key, each.handler
                by_handler[labels].add(each)
            yield None
        yield from self._of_handlers(by_handler)
        yield from self._of_processors(by_processor)
        yield from self._of_connections()
        yield from self._of_process()

    def _key(self, processor: Any, known: dict[tuple[str, str], Any]) -> tuple[str, str]:
        name = one_line(processor.fingerprint.get("name") or "", LONGEST_NAME)
        key = one_line(type(processor).__qualname__, LONGEST_NAME), name
        return key if key in known or len(known) < MOST_PROCESSORS else (OTHERS, OTHERS)

    def _labels(self, *labels: tuple[str, str]) -> str:
        return labels_text((*self._worker, *labels))

    def _of_handlers(self, sums: dict[tuple[str, str, str], _Sums]) -> Turns:
        names = ("class", "processor", "handler")
        texts = {key: self._labels(*zip(names, key, strict=True)) for key in sums}
        for name, help_ in _HANDLED.items():
            family = Family(f"postage_handler_{name}_total", "counter", help_)
            for key, each in sums.items():
                family.add(each.counts[name], texts[key])
            yield family
        in_flight = Family("postage_handler_in_flight", "gauge", "Runs that have not ended.")
        for key, each in sums.items():
            in_flight.add(each.counts["in_flight"], texts[key])
        yield in_flight
        yield from self._histogram(sums, texts)

    def _histogram(self, sums: dict[Any, _Sums], texts: dict[Any, str]) -> Turns:
        text = "How long a run of the handler takes, in seconds; its waiting is a part of it."
        family = Family("postage_handler_seconds", "histogram", text)
        for key, each in sums.items():
            labels, below = texts[key], list(accumulate(each.buckets))
            for place, bound in _BELOW:
                family.add(below[place], f"{labels},{bound}", "_bucket")
            family.add(below[-1], f'{labels},le="+Inf"', "_bucket")
            family.add(each.seconds, labels, "_sum")
            family.add(below[-1], labels, "_count")
            yield None
        yield family

    def _of_processors(self, counts: dict[tuple[str, str], dict[str, int]]) -> Turns:
        text = "Messages of the processor, by what became of them before any handler, or handled."
        messages = Family("postage_processor_messages_total", "counter", text)
        text = "Messages that were delivered and wait for a free slot, a limit or the kill switch."
        waiting = Family("postage_processor_waiting", "gauge", text)
        for key, each in counts.items():
            labels = self._labels(("class", key[0]), ("processor", key[1]))
            for outcome in _PROCESSED:
                messages.add(each[outcome], f'{labels},outcome="{outcome}"')
            waiting.add(each["waiting"], labels)
            yield None
        yield messages
        yield waiting

    def _of_connections(self) -> Turns:
        losses = Family("postage_connection_losses_total", "counter", "Connections lost.")
        open_ = Family("postage_connections_open", "gauge", "Connections that are open.")
        text = "Connections on which the broker takes no publishes now (an alarm)."
        blocked = Family("postage_connections_blocked", "gauge", text)
        unsent = Family("postage_connection_unsent_bytes", "gauge", "Bytes that wait to be sent.")
        read = statistics()
        for role in ("publishing", "consuming"):
            labels, own = self._labels(("role", role)), [each for each in read if each.role == role]
            losses.add(sum(each.losses for each in own), labels)
            open_.add(sum(each.state == "open" for each in own), labels)
            blocked.add(sum(each.blocked is not None for each in own), labels)
            unsent.add(sum(each.bytes_unsent for each in own), labels)
        yield from (losses, open_, blocked, unsent)
        text = "Publishes that the broker has confirmed, or refused to take (nack)."
        confirms = Family("postage_publish_confirms_total", "counter", text)
        confirms.add(confirm_totals.confirmed, self._labels(("result", "ack")))
        confirms.add(confirm_totals.nacked, self._labels(("result", "nack")))
        yield confirms

    def _of_process(self) -> Turns:
        text = "How long the hub took to answer the last question of the hub monitor."
        late = Family("postage_hub_lateness_seconds", "gauge", text)
        late.add(hub_monitor.lateness(), self._labels())
        text = "How long code has held the hub for more than a tenth of a second, all together."
        held = Family("postage_hub_held_seconds_total", "counter", text)
        held.add(flight_recorder.held, self._labels())
        memory = Family("postage_resident_memory_bytes", "gauge", "Resident memory.")
        memory.add(_resident(), self._labels())
        info = Family("postage_info", "gauge", "Always 1; its label is the version of Postage.")
        info.add(1, self._labels(("version", __version__)))
        greenlets = Family("postage_greenlets", "gauge", "Greenlets in memory.")
        kinds: Counter[type] = Counter()
        objects = gc.get_objects()
        for start in range(0, len(objects), CHUNK):
            kinds.update(map(type, objects[start : start + CHUNK]))
            yield None
        del objects
        count = sum(number for kind, number in kinds.items() if issubclass(kind, greenlet))
        greenlets.add(count, self._labels())
        yield from (late, held, greenlets, memory, info)


def _resident() -> int:
    try:
        with open("/proc/self/statm", "rb") as file:  # noqa: PTH123 - one short read
            return int(file.read().split()[1]) * _PAGE
    except OSError:  # a system without it
        return 0
