"""What applications say of themselves when they are asked, and what two answers tell.  Pure.

It comes from others: nothing here takes a value for what it should be.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

__all__ = [
    "Description",
    "Identity",
    "figure",
    "handled",
    "identified",
    "merged",
    "rate",
    "rated",
]

Description = dict[str, Any]
"""An answer to ``describe``; of an application that knows ``ping`` alone, its fingerprint."""

Identity = tuple[str, ...]
"""What tells an application from all others."""

MOST = 1e13
"""A larger figure is none: not even a time in seconds."""


def merged(pings: Iterable[Any], descriptions: Iterable[Any]) -> list[Description]:
    """Return *descriptions*, and for each fingerprint that pinged more often one with that alone.

    Several applications of a process have one fingerprint: only their number tells who is missing.
    What is no fingerprint or description is left out, and of several answers of one application
    all but the last.
    """
    known = list(_latest(filter(_is_description, descriptions)).values())
    described = Counter(_process(each["fingerprint"]) for each in known)
    for fingerprint in filter(_is_fingerprint, pings):
        if described[_process(fingerprint)] > 0:
            described[_process(fingerprint)] -= 1
        else:
            known.append({"fingerprint": fingerprint})
    return sorted(known, key=_identity)


def _latest(descriptions: Iterable[Description]) -> dict[Identity, Description]:
    return {_identity(each): each for each in descriptions}


def identified(descriptions: Iterable[Description]) -> Iterator[tuple[Identity, Description]]:
    """Yield each with what tells it from all others; who has no key is told apart by number."""
    seen: Counter[Identity] = Counter()
    for each in descriptions:
        identity = _identity(each)
        yield (*identity, str(seen[identity])), each
        seen[identity] += 1


def _identity(description: Description) -> Identity:
    return (*_process(description["fingerprint"]), str(description.get("key")))


def _process(fingerprint: dict[str, Any]) -> Identity:
    return tuple(str(fingerprint.get(key)) for key in ("name", "host", "pid"))


def _is_fingerprint(value: Any) -> bool:
    return isinstance(value, dict) and "name" in value


def _is_description(value: Any) -> bool:
    return isinstance(value, dict) and _is_fingerprint(value.get("fingerprint"))


# --- figures


def figure(description: Description, *path: str) -> float | None:
    """Return the number at *path*, or None where there is none."""
    value: Any = description
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return value if is_number and abs(value) < MOST and not math.isnan(value) else None


def handled(description: Description) -> int | None:
    """Return how many messages it has handled, those left out that only asked for this."""
    total, asking = figure(description, "statistics", "handled"), figure(description, "inquiries")
    return None if total is None else int(total - (asking or 0))


def rate(before: Description, after: Description) -> float | None:
    """Return the messages per second that it handled between two answers, by its own clock.

    None where that cannot be told: it was started anew meanwhile, or this is one answer.
    """
    count = _growth(handled(before), handled(after))
    seconds = _growth(figure(before, "uptime"), figure(after, "uptime"))
    return count / seconds if seconds and count is not None else None


def _growth(before: float | None, after: float | None) -> float | None:
    if before is None or after is None or after < before:
        return None
    return after - before


def rated(before: Iterable[Description], after: Iterable[Description]) -> list[Description]:
    """Return *after*, each with its ``rate`` since *before*."""
    known = dict(identified(before))
    return [
        {**each, "rate": rate(known.get(identity, {}), each)}
        for identity, each in identified(after)
    ]
