"""Calls into a hub from other native threads, such as those of an executor.

Nothing of gevent may be used from another native thread: a greenlet that is spawned there belongs
to the hub of that thread, which mostly never runs.  So replies, acks and requests to stop that come
from another thread go through the door of the hub in which their connection lives.

The end of the process uses the doors, too.  If a daemon thread wants to run Python code while the
interpreter ends, Python up to 3.13 ends the thread by ``pthread_exit``.  That unwinds the stack of
the thread, but greenlet has moved parts of this stack, so the process may crash.  Therefore the
last exit function holds the hubs of daemon threads.
"""

from __future__ import annotations

import atexit
import collections
import contextlib
import os
import sys
import time
import weakref
from collections.abc import Callable
from functools import partial
from typing import Any

import gevent
import gevent.hub
import gevent.monkey

__all__ = ["HubDoor", "hub_door", "native_thread"]

# The originals even where threading is patched, because a hub belongs to a native thread.
native_thread: Callable[[], int] = gevent.monkey.get_original("_thread", "get_ident")
_local: Any = gevent.monkey.get_original("_thread", "_local")()
_allocate_lock: Any = gevent.monkey.get_original("_thread", "allocate_lock")

EXIT_LIMIT = 0.2
"""Seconds that a program which ends waits for the hubs of daemon threads."""
HOLD = 5.0
"""Seconds for which the hub of a daemon thread is held.  If the program has not ended by then, an
exit function that runs later may be waiting for the thread."""


class HubDoor:
    """Runs functions in greenlets of one hub; made in the thread of this hub."""

    def __init__(self) -> None:
        self.hub = gevent.hub.get_hub()
        self.thread = native_thread()
        """The thread of the hub; all others must use `call`."""
        self._calls: collections.deque[Callable[[], object]] = collections.deque()
        # Not run_callback_threadsafe: that counts references to the loop without a lock.
        self._watcher = self.hub.loop.async_(ref=False)
        self._watcher.start(self._run)
        self._is_closed = False
        self.is_needed: Callable[[], bool] = lambda: True
        """Tells whether anything waits for the hub; called in any native thread."""
        _doors[self.thread] = self

    def call(self, function: Callable[..., object], *args: Any, **kwds: Any) -> bool:
        """Run ``function(*args, **kwds)`` soon, in a greenlet of the hub.

        For any native thread; never waits.  Returns False if the thread of the hub has ended.
        """
        if not self._is_closed:
            self._calls.append(partial(function, *args, **kwds))
            with contextlib.suppress(ValueError):  # the loop was destroyed
                self._watcher.send()
                return True
        return False

    def _run(self) -> None:
        for _ in range(len(self._calls)):  # without those that come meanwhile: the hub must turn
            gevent.spawn(self._calls.popleft())

    def run_without_hub(self) -> None:
        """Make the calls that are due at once, because the hub will not run again."""
        while self._calls:
            self._calls.popleft()()

    def close(self) -> None:
        """Refuse further calls; for the thread of the hub."""
        self._is_closed = True
        with contextlib.suppress(ValueError):  # the loop was destroyed
            self._watcher.stop()
            self._watcher.close()


_doors: weakref.WeakValueDictionary[int, HubDoor] = weakref.WeakValueDictionary()


def _hold_other_hubs() -> None:
    """Hold the hubs of the other native threads, so that these threads run no more Python code."""
    doors = [each() for each in _doors.valuerefs()]
    others = [each for each in doors if each is not None and each.thread != native_thread()]
    deadline = time.monotonic() + EXIT_LIMIT
    for held in [_hold(each) for each in others]:
        held.acquire(True, max(0.0, deadline - time.monotonic()))  # noqa: FBT003 - its signature


def _hold(door: HubDoor) -> Any:
    """Hold the hub of *door* from its next turn on; return a lock that is released then."""
    held, never = _allocate_lock(), _allocate_lock()
    held.acquire()
    never.acquire()

    def hold() -> None:
        held.release()
        never.acquire(True, HOLD)  # noqa: FBT003 - the lock's own signature

    if not door.call(hold):
        held.release()
    return held


# At import, because exit functions run in reverse order: those that stop threads come first.
if sys.version_info < (3, 14):
    atexit.register(_hold_other_hubs)
os.register_at_fork(after_in_child=_doors.clear)


def hub_door() -> HubDoor:
    """Return the door of the hub of the calling thread."""
    door: HubDoor | None = getattr(_local, "door", None)
    if door is None or door.hub is not gevent.hub.get_hub():
        door = _local.door = HubDoor()
    return door
