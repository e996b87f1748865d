"""How many messages of one handler run at a time, and how many begin in a second.  Pure.

How it works
------------
The rate is kept by a *token bucket*: each start takes a token, and tokens come back at the rate.
The bucket holds one token, and those of a twentieth of a second besides.  So after a rest as many
messages begin at once, and timers that come late by less than this cost nothing of the rate.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

from postage.callables import name_of
from postage.errors import SettingsError
from postage.values import MAX_SHORT_INT, number, rule

__all__ = ["LIMIT", "HandlerLimit", "TokenBucket", "limit", "limit_of"]

LIMIT = "_postage_limit"
"""The attribute in which a handler has its limit."""
BURST = 0.05
"""The seconds whose tokens a bucket holds, besides one token."""
SLACK = 1e-6
LOWEST_RATE, HIGHEST_RATE = 1e-6, 1e6

Function = TypeVar("Function")

_concurrency = number(1, MAX_SHORT_INT, none=True)


def _is_rate(value: Any) -> bool:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return is_number and LOWEST_RATE <= value <= HIGHEST_RATE  # never true of NaN


_rate = rule(f"a number from {LOWEST_RATE:g} to {HIGHEST_RATE:.0f} per second", _is_rate, none=True)


class HandlerLimit(NamedTuple):
    """What `limit` was given."""

    concurrency: int | None = None
    rate: float | None = None


def limit(
    concurrency: int | None = None, *, rate: float | None = None
) -> Callable[[Function], Function]:
    """Let at most *concurrency* messages of a handler run at a time, and *rate* begin per second.

    Both hold for each processor by itself.  Messages beyond them wait without a greenlet, in their
    order, and take no place of `concurrency` of the processor; see docs/processors.md for what they
    take.  A call whose deadline passes meanwhile is not begun.  May stand above or below the
    decorator of the handler.

    Raises `SettingsError` for values that cannot be used.
    """
    if callable(concurrency):
        raise SettingsError(f"write @limit(...) with brackets above {name_of(concurrency)}")
    _concurrency("the concurrency of @limit", concurrency)
    _rate("the rate of @limit", rate)
    if concurrency is None and rate is None:
        raise SettingsError("@limit needs a concurrency or a rate: write @limit(5, rate=100)")

    def mark(handler: Function) -> Function:
        setattr(handler, LIMIT, HandlerLimit(concurrency, None if rate is None else float(rate)))
        return handler

    return mark


def limit_of(handler: Any) -> HandlerLimit | None:
    """Return the limit of a handler, if it has one."""
    found = getattr(handler, LIMIT, None)
    return found if isinstance(found, HandlerLimit) else None


class TokenBucket:
    """Says when something may begin, at most *rate* times per second.

    *clock* returns seconds that never go back.
    """

    __slots__ = ("_capacity", "_clock", "_rate", "_seen", "_tokens")

    def __init__(self, rate: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._clock = rate, clock
        self._capacity = self._tokens = 1 + rate * BURST
        self._seen = clock()

    def take(self) -> bool:
        """Take a token; return False if there is none."""
        self._refill()
        if self._tokens < 1 - SLACK:  # a timer may wait a rounding error too little
            return False
        self._tokens -= 1
        return True

    @property
    def pause(self) -> float:
        """The seconds until there is a token."""
        self._refill()
        return max(0.0, (1 - self._tokens) / self._rate)

    def _refill(self) -> None:
        now = self._clock()
        self._tokens = min(self._capacity, self._tokens + (now - self._seen) * self._rate)
        self._seen = now
