"""What processors answer to queries, merged, rated, and as rows of a table.

Pure: no input or output.  The answers come from other programs, so every value may be of any type.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from postage.discovery import LONGEST, size

Description = dict[str, Any]
"""What is told of a processor by the station of its process, or by an application that was asked to
``describe`` itself; of an application that only answers ``ping``, its fingerprint."""

Identity = tuple[str, ...]
"""What distinguishes an application from all others."""

LARGEST = 1e13
"""A larger number is taken for a mistake: not even a time in seconds is that large."""


MOST_TOLD = 100
"""Descriptions that are taken from one answer."""


def told(answers: Iterable[Any], longest: int = LONGEST) -> list[Description]:
    """Return the descriptions in the answers of stations, with the ``instance`` of each process.

    What is no description, or is much larger than *longest* bytes, is left out.
    """
    found = []
    for answer in filter(_is_answer, answers):
        instance = str(answer.get("instance"))[:40]
        found += [
            {**each, "instance": instance}
            for each in answer["processors"][:MOST_TOLD]
            if _is_description(each) and size(each) < 2 * longest
        ]
    return found


def _is_answer(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("processors"), list)


def merged(pings: Iterable[Any], descriptions: Iterable[Any]) -> list[Description]:
    """Return the applications that have answered, each once, sorted by identity.

    Of several descriptions of one application the last counts, and that of a station before one of
    the application itself: its process may have got a station in between.  An application that has
    only answered ``ping`` is listed with its fingerprint.  The applications of one process share
    one fingerprint, so only the number of pings tells how many descriptions are missing.  Answers
    without a fingerprint are left out.
    """
    latest = {_distinct(each): each for each in filter(_is_description, descriptions)}
    of_stations = {_identity(each) for each in latest.values() if "instance" in each}
    known = [
        each for each in latest.values() if "instance" in each or _identity(each) not in of_stations
    ]
    described = Counter(_process(each["fingerprint"]) for each in known)
    for fingerprint in filter(_is_fingerprint, pings):
        if described[_process(fingerprint)] > 0:
            described[_process(fingerprint)] -= 1
        else:
            known.append({"fingerprint": fingerprint})
    return sorted(known, key=_distinct)


def identified(descriptions: Iterable[Description]) -> Iterator[tuple[Identity, Description]]:
    """Yield each description with its identity; those without a key are numbered."""
    seen: Counter[Identity] = Counter()
    for each in descriptions:
        identity = _identity(each)
        yield (*identity, str(seen[identity])), each
        seen[identity] += 1


def _identity(description: Description) -> Identity:
    return (*_process(description["fingerprint"]), str(description.get("key")))


def _distinct(description: Description) -> Identity:
    """Return what also tells two processes from each other that claim the same host and pid."""
    return (*_identity(description), str(description.get("instance")))


def _process(fingerprint: dict[str, Any]) -> Identity:
    return tuple(str(fingerprint.get(key)) for key in ("name", "host", "pid"))


def _is_fingerprint(value: Any) -> bool:
    return isinstance(value, dict) and "name" in value


def _is_description(value: Any) -> bool:
    return isinstance(value, dict) and _is_fingerprint(value.get("fingerprint"))


# --- numbers


def number_at(description: Description, *path: str) -> float | None:
    """Return the number at *path*, or None if there is none."""
    value: Any = description
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return value if is_number and abs(value) < LARGEST and not math.isnan(value) else None


def handled(description: Description) -> int | None:
    """Return how many messages an application has handled, without those that only asked this."""
    total = number_at(description, "statistics", "handled")
    inquiries = number_at(description, "inquiries")
    return None if total is None else max(0, int(total - (inquiries or 0)))


def rate(before: Description, after: Description) -> float | None:
    """Return the messages per second handled between two answers, by the application's own clock.

    None if it is unknown: the application was restarted in between, or both are one answer.
    """
    count = _growth(handled(before), handled(after))
    seconds = _growth(number_at(before, "uptime"), number_at(after, "uptime"))
    return count / seconds if seconds and count is not None else None


def _growth(before: float | None, after: float | None) -> float | None:
    if before is None or after is None or after < before:
        return None
    return after - before


def rated(
    before: Mapping[Identity, Description], after: Iterable[Description]
) -> dict[Identity, Description]:
    """Return *after* by identity, each with its ``rate`` since *before*."""
    return {
        identity: {**each, "rate": rate(before.get(identity, {}), each)}
        for identity, each in identified(after)
    }


# --- the table


COUNTED = ("failed", "retried", "delayed", "parked")
"""The statistics that have a column of their own, of the same name."""
COLUMNS = (
    *("NAME", "KEY", "MSG/S", "HANDLED", "FLIGHT", *map(str.upper, COUNTED)),
    *("P99", "UPTIME", "STATE", "GROUPS", "CLASS"),
)
"""Least important last: a narrow terminal cuts lines off."""


def row(description: Description) -> tuple[object, ...]:
    """Return the cells of an application; ``-`` stands for what its answer does not contain."""
    fingerprint, groups = description["fingerprint"], description.get("groups")
    process_key = "{pid}@{host}".format_map({"pid": "?", "host": "?"} | fingerprint)
    statistics = description.get("statistics")
    state = statistics.get("state") if isinstance(statistics, dict) else None
    uptime, per_second = number_at(description, "uptime"), number_at(description, "rate")
    cells = (
        fingerprint["name"],
        description.get("key") or process_key,
        None if per_second is None else f"{per_second:.1f}",
        handled(description),
        number_at(description, "in_flight"),
        *(number_at(description, "statistics", name) for name in COUNTED),
        _duration(number_at(description, "p99")),
        None if uptime is None else timedelta(seconds=int(uptime)),
        state if isinstance(state, str) else None,
        ",".join(map(str, groups)) if isinstance(groups, list) and groups else None,
        description.get("class"),
    )
    return tuple("-" if cell is None else cell for cell in cells)


def _duration(seconds: float | None) -> str | None:
    """Return *seconds* in three digits, such as ``1.5ms``."""
    if seconds is None or seconds < 0:
        return None
    return f"{seconds * 1000:.3g}ms" if seconds < 1 else f"{seconds:.3g}s"


# --- the same applications, asked again and again


KEPT = 15.0
"""Seconds for which an application that has gone is still shown."""


@dataclass(frozen=True)
class AppRow:
    """One application, by its last answer."""

    description: Description
    """With the ``rate`` of messages between its last two answers, or None."""
    gone_since: float | None = None
    """When it did not answer for the first time; None while it answers."""

    @property
    def rate(self) -> float:
        """Messages per second; 0 if unknown."""
        return number_at(self.description, "rate") or 0.0


class AppList:
    """The applications that answer, and those that have stopped answering lately."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._rows: dict[Identity, AppRow] = {}

    def update(self, found: Iterable[Description]) -> None:
        """Record the applications that have answered this time; all others have gone."""
        before, now = self._rows, self._clock()
        known = {identity: app.description for identity, app in before.items()}
        self._rows = {identity: AppRow(each) for identity, each in rated(known, found).items()}
        for identity in before.keys() - self._rows.keys():
            old = before[identity]
            since = now if old.gone_since is None else old.gone_since
            if now - since < KEPT:
                self._rows[identity] = AppRow({**old.description, "rate": None}, since)

    def end(self, instance: object, key: object) -> None:
        """Record that the processor *key* of the process *instance* has said good-bye."""
        for identity, app in self._rows.items():
            known = app.description
            is_it = (known.get("instance"), known.get("key")) == (instance, key)
            if is_it and app.gone_since is None:
                self._rows[identity] = AppRow({**known, "rate": None}, self._clock())

    @property
    def present(self) -> list[AppRow]:
        """The applications that answer, by name."""
        return [app for _, app in sorted(self._rows.items()) if app.gone_since is None]

    @property
    def gone(self) -> list[AppRow]:
        """The applications that answered within the last `KEPT` seconds, but not this time."""
        return [app for _, app in sorted(self._rows.items()) if app.gone_since is not None]
