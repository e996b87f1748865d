"""The loggers of Postage: what peers wrote is cut, escaped and counted on its way into the log.

How it works
------------
Each module has its logger from `logger_of`, which gives it a filter.  The filter sees each record
before any handler does, whatever handlers and formatters the program has set up:

* **Cut and escaped.**  Each argument is written on one line and has at most
  `foreign_text.LONGEST` characters; so has each text of an exception in a traceback.
* **Counted.**  A record with ``extra=counted(...)`` is one of a sort, and a peer can cause any
  number of them.  The 1st, 10th, 100th, 1,000th... within `PERIOD` is logged, with its number.

A sort is named by what is ours: the text of the record, and what the caller adds, such as the
processor and the kind of exception.  It never contains what a peer wrote: otherwise each message
could be of a sort of its own.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Hashable
from typing import Any

from postage.foreign_text import LONGEST, MOST_CAUSES, brief, one_line, traceback_text

__all__ = ["PERIOD", "Shown", "Sorts", "counted", "logger_of", "place_of"]

PERIOD = 600.0
"""Seconds after which the counting of a sort of records starts again at one."""
MOST_SORTS = 1000
"""How many sorts are counted at a time; beyond that, the counting of all starts again."""
LONGEST_AT_DEBUG = 10 * LONGEST
"""Characters that are left of each argument of a debug record, which may be a whole message."""

_LARGEST = (1 << 64) - 1
_SORT = "postage_sort"


def logger_of(name: str) -> logging.Logger:
    """Return the logger *name*, which cuts, escapes and counts its records."""
    logger = logging.getLogger(name)
    logger.addFilter(_prepare)  # a filter that is there already is not added again
    return logger


def counted(*sort: Hashable) -> dict[str, Any]:
    """Return the ``extra`` of a record of which peers can cause many.

    *sort* is what tells it from records with the same text: something of ours, never of a peer.
    """
    return {_SORT: sort}


def place_of(error: BaseException) -> tuple[str, str, int]:
    """Return the kind of *error* and where it was raised first, as a part of a sort.

    Errors of a kind from the same line are the same fault, whatever values they name.
    """
    for _ in range(MOST_CAUSES):  # a circle of causes has no first one
        error = error.__cause__ or error
    entry = error.__traceback__
    if entry is None:
        return type(error).__qualname__, "", 0
    while entry.tb_next is not None:
        entry = entry.tb_next
    return type(error).__qualname__, entry.tb_frame.f_code.co_filename, entry.tb_lineno


class Shown:
    """An argument of a record, cut and escaped when a handler formats the record.

    An integer with more than 64 bits is for ``%d`` the nearest one that has no more: pika makes
    integers of up to 309 digits of the floats in headers.
    """

    __slots__ = ("_longest", "_value")

    def __init__(self, value: object, longest: int = LONGEST) -> None:
        self._value, self._longest = value, longest

    def __str__(self) -> str:
        return one_line(self._value, self._longest)

    def __repr__(self) -> str:
        return brief(self._value, self._longest)

    def __index__(self) -> int:
        if not isinstance(self._value, int):
            raise TypeError(f"{type(self._value).__name__} is no integer")
        return max(-_LARGEST, min(self._value, _LARGEST))


class Sorts:
    """Counts records by their sort, and says which of them are logged.

    May be used by any thread: a race miscounts at worst.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._counts: dict[Hashable, _Count] = {}

    def __len__(self) -> int:
        return len(self._counts)

    def number(self, sort: Hashable) -> int:
        """Count one of *sort*; return its number if it is the 1st, 10th, 100th..., else 0."""
        now, count = self._clock(), self._counts.get(sort)
        if count is None or now - count.since >= PERIOD:
            if len(self._counts) >= MOST_SORTS:
                self._counts.clear()
            count = self._counts[sort] = _Count(now)
        count.seen += 1
        if count.seen < count.due:
            return 0
        count.due *= 10
        return count.seen

    def clear(self) -> None:
        """Start all counts again."""
        self._counts.clear()


class _Count:
    __slots__ = ("due", "seen", "since")

    def __init__(self, since: float) -> None:
        self.since, self.seen, self.due = since, 0, 1


sorts = Sorts()
"""The counts of this process."""


def _is_number(value: object) -> bool:
    """Tell whether *value* is a number of ordinary size, which ``%d`` needs as it is."""
    return isinstance(value, float) or (isinstance(value, int) and abs(value) <= _LARGEST)


def _prepare(record: logging.LogRecord) -> bool:
    """Make a record fit for any log; return whether to log it."""
    sort = getattr(record, _SORT, None)
    if sort is not None:
        number = sorts.number((record.name, record.msg, *sort))
        if not number:
            return False
        if number > 1:
            minutes = f"{PERIOD / 60:g} minutes"
            record.msg = f"{record.msg}  (number {number} of its kind within {minutes})"
    longest = LONGEST if record.levelno > logging.DEBUG else LONGEST_AT_DEBUG
    # logging takes a single mapping for named arguments, which no record of ours has.
    args = record.args if isinstance(record.args, tuple) else (record.args,) if record.args else ()
    record.args = tuple(each if _is_number(each) else Shown(each, longest) for each in args)
    if record.exc_info and record.exc_info[1] is not None:
        # Formatters use this text, if there is one, instead of formatting the traceback.
        record.exc_text = traceback_text(record.exc_info[1])
    return True
