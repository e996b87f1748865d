"""A bounded pool of greenlets that handle what the hub hands over."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

import gevent
import gevent.event
import gevent.pool

from postage.dispatch import Abandoned

__all__ = ["Pool"]

logger = logging.getLogger(__name__)

T = TypeVar("T")

KILL_LIMIT = 0.25
"""Seconds until a handler that swallows `Abandoned` is left to itself."""

SPARE = 8
"""Idle greenlets that a pool keeps for the next burst; to spawn one costs more than to wake one."""


class Pool(Generic[T]):
    """Runs ``handle(item)`` for each item, at most *size* at once, in the order of arrival."""

    def __init__(self, size: int, handle: Callable[[T], None], name: str = "postage") -> None:
        self._size, self._handle, self._name = size, handle, name
        self._waiting: deque[T] = deque()
        self._workers = gevent.pool.Group()
        self._idle: deque[gevent.event.Event] = deque()
        self._summoned = False  # a greenlet was woken or spawned, and has not run yet
        self._busy = 0
        self._quiet = gevent.event.Event()
        self._quiet.set()

    @property
    def busy(self) -> int:
        """How many items are being handled."""
        return self._busy

    def __repr__(self) -> str:
        waiting = len(self._waiting)
        return f"<Pool {self._name}: {self._busy} of {self._size} busy, {waiting} waiting>"

    @property
    def waiting(self) -> int:
        """How many items wait for their turn."""
        return len(self._waiting)

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
        if self._summoned:
            return
        if self._idle:
            self._idle.popleft().set()
        elif len(self._workers) < self._size:
            worker: gevent.Greenlet[..., object] = gevent.Greenlet(self._work)
            worker.name = self._name
            self._workers.start(worker)
        else:
            return
        self._summoned = True

    def withdraw(self) -> list[T]:
        """Return the items that nobody has begun with; they are no more handled."""
        items = list(self._waiting)
        self._waiting.clear()
        self._check_quiet()
        return items

    def join(self, limit: float) -> bool:
        """Wait until nothing waits nor runs, at most *limit* seconds; tell whether it is so."""
        return bool(self._quiet.wait(limit))

    def abandon(self) -> None:
        """Wait no more for what runs: `join` returns, and `Abandoned` is raised in the handlers.

        Never switches; so the handlers have not heard of it yet.
        """
        self._workers.kill(Abandoned, block=False)
        self._quiet.set()

    def __contains__(self, greenlet: object) -> bool:
        return any(worker is greenlet for worker in self._workers)

    def kill(self, limit: float = KILL_LIMIT) -> None:
        """End all greenlets; `Abandoned` is raised in the handlers that run.  Switches.

        Waits at most *limit* seconds for handlers that will not hear of it.
        """
        self._workers.kill(Abandoned, timeout=limit)

    def _work(self) -> None:
        try:
            self._handle_all()
        except Abandoned:
            pass
        except BaseException:
            # Somebody killed this greenlet, which is not the end of the pool: another goes on.
            self._workers.discard(gevent.getcurrent())  # type: ignore[arg-type]  # it is one
            if self._waiting:
                self._summon()
            raise

    def _handle_all(self) -> None:
        wake = gevent.event.Event()
        while True:
            self._summoned = False
            while self._waiting:
                item = self._waiting.popleft()
                if self._waiting:
                    self._summon()
                self._run(item)
            if len(self._idle) >= SPARE:
                return
            wake.clear()
            self._idle.append(wake)
            wake.wait()

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
        if not self._waiting and not self._busy:
            self._quiet.set()
