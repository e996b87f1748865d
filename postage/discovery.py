"""Discovery: how processes are asked which processors they run, and what they tell.  Pure.

How it works
------------
A process that runs processors has one exclusive queue, which is bound to the exchange of generic
applications by the key `ASK`.  A query is an RPC command with that key: ``ping``, ``info``,
``stats``, ``flows`` or ``flight``.  Its parameter ``to`` says whom it is for: see `keys_of`.  A
process with such processors answers with one or several results, each a list of descriptions; other
processes do not answer.  To ``flight`` it answers once, with the end of its flight record
(`latest`).

``flows`` is what the console asks every other second: ``stats`` with all senders of each handler.
They are counted exactly for `WATCHED` seconds from then on, and about otherwise (see
`postage.handler_statistics`).

A description has at most `LONGEST` bytes as JSON, or `LONGEST_FLOWS`, whatever names, docstrings
and errors it has to tell: texts are cut, and lists end early (`fitted`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from postage.exchange import Exchange
from postage.foreign_text import one_line

# fmt: off
__all__ = [
    "ASK", "EVERYTHING", "GOODBYE", "LONGEST", "LONGEST_FLOWS", "LONGEST_RECORD", "QUERIES",
    "WATCHED", "GenericApplicationExchange", "cut", "fitted", "keys_of", "latest", "short", "size",
]
# fmt: on


class GenericApplicationExchange(Exchange):
    """The exchange of generic applications, and of discovery."""

    name = "generic-application-exchange"


ASK, GOODBYE = "?", "!"
"""The routing keys of queries, and of the messages that processors send when they end."""
QUERIES = ("ping", "info", "stats", "flows", "flight")
"""The names of queries: who is there; what they are; what they have done, and for whom; what has
gone wrong."""
EVERYTHING = "*"
"""The value of ``to`` that every processor answers to."""
LONGEST = 2000
"""Bytes of a description as JSON."""
LONGEST_FLOWS = 8000
"""Bytes of a description with flows as JSON."""
WATCHED = 10.0
"""Seconds for which flows are counted exactly after each query for them."""
LONGEST_RECORD = 16_000
"""Bytes of the end of a flight record as JSON."""


def keys_of(fingerprint: Mapping[str, Any], id_: str, groups: Iterable[str] = ()) -> set[str]:
    """Return the values of ``to`` that a processor answers to; those of applications are the same.

    They are ``*``, ``name``, ``@host``, ``name@host``, ``pid@host``, ``name#group`` and the id.
    """
    name, pid, host = (str(fingerprint.get(key)) for key in ("name", "pid", "host"))
    keys = {EVERYTHING, name, f"@{host}", f"{name}@{host}", f"{pid}@{host}", id_}
    return keys | {f"{name}#{group}" for group in groups}


def size(value: object) -> int:
    """Return the bytes of *value* as JSON, or a few more."""
    return len(json.dumps(value, default=str))


def short(text: object, longest: int) -> str:
    """Return *text* on one line, cut so that it has at most *longest* bytes as JSON."""
    return cut(one_line(text, longest), longest)


def cut(text: str, longest: int) -> str:
    """Return the beginning of *text* that has at most *longest* bytes as JSON."""
    text = text[: longest + 1]
    while size(text) > longest + 2:
        text = text[: len(text) * 3 // 4]
    return text


def fitted(
    description: dict[str, Any], longest: int = LONGEST, /, **lists: Iterable[dict[str, Any]]
) -> dict[str, Any]:
    """Return *description* with these *lists*, each as long as *longest* bytes in all allow.

    ``left_out`` says how many of their items are missing.
    """
    told: dict[str, Any] = {**description, **{name: [] for name in lists}, "left_out": 0}
    room = longest - size(told) - len(str(longest))
    for name, items in lists.items():
        for item in items:
            room -= size(item) + 2
            if room < 0:
                told["left_out"] += 1
            else:
                told[name].append(item)
    return told


def latest(entries: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the last of *entries*, in their order: as many as `LONGEST_RECORD` allows."""
    room, first = LONGEST_RECORD, len(entries)
    while first and (room := room - size(entries[first - 1]) - 2) >= 0:
        first -= 1
    return list(entries[first:])
