"""Idle greenlets, shared by all pools of a hub: a thousand pools keep no more of them than one."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import gevent
import gevent.monkey
from gevent.hub import Waiter, get_hub

__all__ = ["SPARE", "Stock", "stock_of_hub"]

SPARE = 32
"""Idle greenlets kept for the next burst; to spawn one costs more than to wake one, and 8 KB."""

Task = Callable[[], object]


class Stock:
    """Runs tasks in greenlets, in the order of arrival, none of which waits for another.

    It calls one greenlet at a time, which calls the next one before it begins with a task.  So as
    long as tasks do not block, two greenlets do them all; a greenlet for each would cost more than
    the task.  Idle greenlets are kept for as long as the stock has users.
    """

    def __init__(self, hub: object) -> None:
        self.hub = hub
        self._tasks: deque[Task] = deque()
        self._called: _Worker | None = None  # woken or spawned, and has not run yet
        self._idle: list[_Worker] = []
        self._users: set[object] = set()

    def __len__(self) -> int:
        return len(self._idle)

    def enter(self, user: object) -> None:
        """Have *user* use it from now on."""
        self._users.add(user)

    def leave(self, user: object) -> None:
        """Note that *user* uses it no more; never switches, and leaving twice is fine."""
        self._users.discard(user)
        if not self._users:
            idle, self._idle = self._idle, []
            gevent.killall(idle, block=False)

    def run(self, task: Task) -> None:
        """Have *task* run soon in a greenlet, which what it raises ends; never switches."""
        self._tasks.append(task)
        self._call()

    def _call(self) -> None:
        if self._tasks and self._called is None:
            self._called = self._idle.pop() if self._idle else _Worker(self)
            self._called.come()

    # --- for its greenlets

    def work(self) -> None:
        """Do what there is to do."""
        self._called = None
        while self._tasks:
            task = self._tasks.popleft()
            self._call()
            task()

    def keep(self, worker: _Worker) -> bool:
        """Take *worker*, which has nothing to do; False: there are enough."""
        if len(self._idle) >= SPARE or not self._users:
            return False
        self._idle.append(worker)
        return True

    def lose(self, worker: _Worker) -> None:
        """Go on without *worker*, which has ended, perhaps killed by somebody."""
        if worker in self._idle:
            self._idle.remove(worker)
        if worker is self._called:
            self._called = None
        self._call()


class _Worker(gevent.Greenlet):  # type: ignore[type-arg]  # not subscriptable at run time
    """One greenlet: works, and waits until it is called again."""

    def __init__(self, stock: Stock) -> None:
        super().__init__()
        self._stock = stock
        self._waiter: Waiter[None] | None = None
        self.rawlink(stock.lose)

    def come(self) -> None:
        """Have it work; for one that has not started, or waits."""
        if self._waiter is None:
            self.start()
        else:
            get_hub().loop.run_callback(self._waiter.switch, None)

    def _run(self) -> None:
        while True:
            self._stock.work()
            self._waiter = Waiter()
            if not self._stock.keep(self):
                return
            self._waiter.get()


# The real thread's, also where threading is patched: a hub belongs to a native thread.
_local: Any = gevent.monkey.get_original("_thread", "_local")()


def stock_of_hub() -> Stock:
    """Return the stock of the calling greenlet's hub."""
    stock: Stock | None = getattr(_local, "stock", None)
    if stock is None or stock.hub is not get_hub():
        stock = _local.stock = Stock(get_hub())
    return stock
