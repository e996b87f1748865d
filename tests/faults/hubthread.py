"""A native thread with a hub of its own: what runs there goes on while a handler computes."""

from __future__ import annotations

import queue
from collections.abc import Callable
from typing import Any, TypeVar

import gevent
import gevent.event
import gevent.hub
import gevent.monkey

T = TypeVar("T")

_start_new_thread: Any = gevent.monkey.get_original("_thread", "start_new_thread")
_allocate_lock: Any = gevent.monkey.get_original("_thread", "allocate_lock")
_Mailbox: Any = gevent.monkey.get_original("queue", "SimpleQueue")


class HubThread:
    """Runs functions in its thread; they may spawn greenlets, which live until `stop`."""

    def __init__(self) -> None:
        hub: Any = _Mailbox()
        self._ended = _allocate_lock()
        self._ended.acquire()
        _start_new_thread(self._main, (hub,))
        self._hub: gevent.hub.Hub = hub.get()

    def _main(self, hub: queue.SimpleQueue[Any]) -> None:
        ours = gevent.get_hub()
        awake = ours.loop.async_()
        awake.start(lambda: None)  # a hub that waits for nothing gives up
        try:
            self._over = gevent.event.Event()
            hub.put(ours)
            self._over.wait()
        finally:
            awake.close()
            ours.destroy(destroy_loop=True)
            self._ended.release()

    def call(self, function: Callable[..., T], *arguments: Any) -> T:
        """Run *function*, which must not switch, and return or raise what comes of it.

        Blocks the calling thread for less than a millisecond.
        """
        answer: Any = _Mailbox()

        def run() -> None:
            try:
                answer.put((function(*arguments), None))
            except BaseException as exc:  # it belongs to who waits
                answer.put((None, exc))

        self._hub.loop.run_callback_threadsafe(run)
        value, error = answer.get()
        if error is not None:
            raise error
        result: T = value
        return result

    def stop(self, within: float = 2.0) -> None:
        """End the thread; what still runs in it ends unfinished."""
        self.call(self._over.set)
        self._ended.acquire(timeout=within)
