"""A bounded pool of greenlets that handle what the hub hands over."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import gevent
import gevent.event

from postage.dispatch import HandlerKilled
from postage.green.stock import stock_of_hub

__all__ = ["Pool"]

logger = logging.getLogger(__name__)

T = TypeVar("T")

KILL_LIMIT = 0.25
"""Seconds until a handler that swallows `HandlerKilled` is left to itself."""


class Pool(Generic[T]):
    """Runs ``handle(item)`` for each item, at most *size* at once, in the order of arrival."""

    __slots__ = (
        *("_busy", "_handle", "_name", "_next", "_over", "_quiet", "_size", "_stock"),
        *("_summoned", "_waiting", "_workers"),
    )

    def __init__(self, size: int, handle: Callable[[T], None], name: str = "postage") -> None:
        self._size, self._handle, self._name = size, handle, name
        # An empty deque takes 600 bytes, of each of a thousand pools; few things ever wait here.
        # But where very many do, to take the first of a list moves all others: so there are two.
        self._waiting: list[T] = []
        self._next: list[T] = []  # what came before those, the last one first
        self._stock = stock_of_hub()
        self._stock.enter(self)
        self._workers: set[Any] = set()  # greenlets
        self._summoned = False  # a greenlet was woken or spawned, and has not run yet
        self._busy = 0
        self._over = False
        self._quiet = gevent.event.Event()
        self._quiet.set()

    @property
    def busy(self) -> int:
        """How many items are being handled."""
        return self._busy

    def __repr__(self) -> str:
        return f"<Pool {self._name}: {self._busy} of {self._size} busy, {self.waiting} waiting>"

    @property
    def waiting(self) -> int:
        """How many items wait for their turn."""
        return len(self._waiting) + len(self._next)

    def submit(self, item: T) -> None:
        """Have *item* handled when its turn comes; for the hub: never switches, never blocks."""
        self._waiting.append(item)
        self._quiet.clear()
        self._summon()

    def _summon(self) -> None:
        """Have one more greenlet come and look.

        One at a time: it summons the next before it handles anything.  So as long as handlers do
        not block, one greenlet handles a whole burst; a switch for each message would cost more
        than the message.
        """
        if not self._summoned and len(self._workers) < self._size:
            self._stock.run(self._work)
            self._summoned = True

    def withdraw(self) -> list[T]:
        """Return the items that nobody has begun with; they are no more handled."""
        items = [*reversed(self._next), *self._waiting]
        self._waiting, self._next = [], []
        self._check_quiet()
        return items

    def join(self, limit: float) -> bool:
        """Wait until nothing waits nor runs, at most *limit* seconds; tell whether it is so."""
        return bool(self._quiet.wait(limit))

    def abandon(self) -> None:
        """Wait no more for what runs: `join` returns, and handlers get `HandlerKilled`.

        Never switches; so the handlers have not heard of it yet.
        """
        self._over = True
        gevent.killall([*self._workers], HandlerKilled, block=False)
        self._quiet.set()

    def __contains__(self, greenlet: object) -> bool:
        return greenlet in self._workers

    def kill(self, limit: float = KILL_LIMIT) -> None:
        """End all greenlets; `HandlerKilled` is raised in the handlers that run.  Switches.

        Waits at most *limit* seconds for handlers that will not hear of it.
        """
        self._over = True
        workers = [*self._workers]
        gevent.killall(workers, HandlerKilled, block=False)
        gevent.joinall(workers, timeout=limit)
        self._workers.clear()
        self._stock.leave(self)

    def retire(self) -> None:
        """Keep no greenlets for what may be submitted later; never switches."""
        self._stock.leave(self)

    def _work(self) -> None:
        worker = gevent.getcurrent()
        self._workers.add(worker)
        try:
            self._handle_all()
        except HandlerKilled:
            raise gevent.GreenletExit from None
        finally:
            self._workers.discard(worker)
            if self.waiting and not self._over:  # it was killed by somebody: another goes on
                self._summon()
        if self._over:  # it may be about to be killed here, and must not be elsewhere by then
            raise gevent.GreenletExit

    def _handle_all(self) -> None:
        self._summoned = False
        while self._next or self._turned():
            item = self._next.pop()
            if self._next or self._waiting:
                self._summon()
            self._run(item)

    def _turned(self) -> bool:
        """Have ready what has come meanwhile; tell whether there is any."""
        self._next, self._waiting = self._waiting, self._next
        self._next.reverse()
        return bool(self._next)

    def _run(self, item: T) -> None:
        self._busy += 1
        try:
            self._handle(item)
        except Exception:  # the handler judges its errors; what is left over is a defect of ours
            logger.exception("A greenlet of %r failed.", self)
        finally:
            self._busy -= 1
            self._check_quiet()

    def _check_quiet(self) -> None:
        if not (self._waiting or self._next or self._busy):
            self._quiet.set()
