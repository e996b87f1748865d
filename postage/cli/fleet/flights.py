"""The flight records of running processes, as they tell them.

The station of a process tells its record: see `postage.discovery`.  Applications whose processes
have no station, or are of an older version, are asked by ``describe``.

Other programs wrote the answers, so every value may be of any type.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import gevent

from postage.cli.fleet.descriptions import number_at
from postage.cli.fleet.query import answers_to, gathered, remote_to
from postage.cli.output import sanitized
from postage.discovery import ASK
from postage.flight_recorder import EventKind

ASKED = {"brief": True, "flight": True}
"""The parameters of ``describe``."""
MOST_SHOWN = 300
"""Entries that are taken from one answer: the last ones."""
KINDS = {kind.name.lower(): kind.value for kind in EventKind}
"""The kinds of entries as answers name them, and as lines do."""


def flights(key: str, wait: float) -> list[dict[str, Any]]:
    """Return the records of the processes behind *key* that answer within *wait* seconds.

    Each has a ``fingerprint``, the list ``flight``, and ``left_out``, the number of older entries
    that the process has not told.  Switches.
    """
    stations, applications = remote_to(ASK), remote_to(key)
    if stations is None or applications is None:
        return []
    queries = [
        gevent.spawn(answers_to, stations, "flight", wait, {"to": key}),
        gevent.spawn(answers_to, applications, "describe", wait, ASKED),
    ]
    told, described = gathered(queries)
    return list(processes(told, described))


def processes(told: Iterable[Any], described: Iterable[Any]) -> Iterator[dict[str, Any]]:
    """Yield each process once, by what stations have *told* and applications have *described*.

    The applications of one process share its record.
    """
    instances, known = set(), set()
    for record in _records(told):
        if record["instance"] not in instances:
            instances.add(record["instance"])
            known.add(_process(record))
            yield record
    for record in _records(described):
        if _process(record) not in known:
            known.add(_process(record))
            yield record


def _records(answers: Iterable[Any]) -> Iterator[dict[str, Any]]:
    """Yield the records among *answers*; those of older versions have none."""
    for answer in answers:
        fingerprint = answer.get("fingerprint") if isinstance(answer, dict) else None
        if isinstance(fingerprint, dict) and isinstance(answer.get("flight"), list):
            yield {
                "instance": str(answer.get("instance", ""))[:40],
                "fingerprint": fingerprint,
                "flight": answer["flight"][-MOST_SHOWN:],
                "left_out": max(0, int(number_at(answer, "left_out") or 0)),
            }


def _process(record: dict[str, Any]) -> tuple[str, str]:
    fingerprint = record["fingerprint"]
    return str(fingerprint.get("pid")), str(fingerprint.get("host"))


def page(flight: dict[str, Any]) -> Iterator[str]:
    """Yield the lines for one process, the oldest event first."""
    name, pid, host = (flight["fingerprint"].get(key) for key in ("name", "pid", "host"))
    yield sanitized(f"{name}, {pid}@{host}")
    if left_out := flight["left_out"]:
        yield f"  {left_out} older entries did not fit into the answer"
    entries = [each for each in flight["flight"] if isinstance(each, dict)]
    for entry in entries:
        ago, seconds = number_at(entry, "ago"), number_at(entry, "seconds")
        kind = KINDS.get(str(entry.get("kind")), entry.get("kind"))
        lasted = f" for {seconds:.2f} s" if seconds else ""
        when = "?" if ago is None else f"{ago:.1f}"
        yield sanitized(f"{when:>6} s ago  {kind}{lasted}: {entry.get('text')}")
    if not entries:
        yield "  nothing within the last minute"
