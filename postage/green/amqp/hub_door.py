"""Calls into a hub from other native threads, such as those of an executor.

Nothing of gevent may be used from another native thread: a greenlet that is spawned there belongs
to the hub of that thread, which mostly never runs.  So replies, acks and requests to stop that come
from another thread go through the door of the hub in which their connection lives.
"""

from __future__ import annotations

import collections
import contextlib
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


def hub_door() -> HubDoor:
    """Return the door of the hub of the calling thread."""
    door: HubDoor | None = getattr(_local, "door", None)
    if door is None or door.hub is not gevent.hub.get_hub():
        door = _local.door = HubDoor()
    return door
