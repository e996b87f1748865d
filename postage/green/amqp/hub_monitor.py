"""The guard: one native thread for all hubs of a process, which acts while a hub is late.

Greenlets share their hub's native thread: while a handler computes, nobody else there runs, and
heartbeats are not written.  The guard writes them, and logs who computes.  It is there as long as
there is a connection to guard.  What it cannot help against is in docs/heartbeats.md.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import time
from typing import Any

import gevent.monkey

from postage.green.amqp.watch import Ward, Watch

__all__ = ["Guard", "guard"]

logger = logging.getLogger(__name__)

EXIT_LIMIT = 0.2
"""Seconds that a program which ends waits for a line of the log to be written."""

# The real ones, also where threading is patched: greenlets cannot help each other here.
_start_thread = gevent.monkey.get_original("_thread", "start_new_thread")
_allocate_lock = gevent.monkey.get_original("_thread", "allocate_lock")
_RLock = gevent.monkey.get_original("_thread", "RLock")
_native_thread = gevent.monkey.get_original("_thread", "get_ident")


class Guard:
    """Watches over transports, from `watch` to `forget`.  Both are for the thread of their hub."""

    def __init__(self) -> None:
        # The order of locks: this one, then a transport's.  It can be taken twice, for in either
        # thread the garbage collector may end a hub, and its connections, in the middle of a look.
        self._lock = _RLock()
        self._pen = _allocate_lock()
        self._watches: dict[Any, Watch] = {}
        self._bell: Any = None  # the thread sleeps by trying to get this lock; None: no thread
        self._registered = False

    def __repr__(self) -> str:
        state = "idle" if self._bell is None else "awake"
        return f"<Guard over {len(self._watches)} hubs, {state}>"

    def watch(self, ward: Ward, late_after: float) -> None:
        """Keep *ward*, of this thread's hub, alive; log who makes it late for *late_after* s."""
        with self._lock:
            self._register_once()
            if ward.loop not in self._watches:
                self._watches[ward.loop] = Watch(ward.loop, _native_thread(), self._say)
            self._watches[ward.loop].wards[ward] = late_after
            if self._bell is None:
                self._start()

    def forget(self, ward: Ward) -> None:
        """Leave *ward* to itself; the guard's thread ends with the last one."""
        with self._lock:
            watch = self._watches.get(ward.loop)
            if watch is None:
                return
            watch.forget(ward)
            if not watch.wards:
                del self._watches[ward.loop]
                watch.end()
                watch.close()
            if not self._watches:
                self._stop()

    # --- the thread

    def _start(self) -> None:
        bell = _allocate_lock()
        bell.acquire()
        try:
            _start_thread(self._run, (bell,))
        except RuntimeError as exc:  # no more threads, or the interpreter is about to end
            logger.warning("Heartbeats are written by the hub alone: %s.", exc)
        else:
            self._bell = bell

    def _stop(self) -> None:
        if self._bell is not None:
            self._bell.release()
            self._bell = None

    def _run(self, bell: Any) -> None:
        planned = time.monotonic()
        while pause := self._round(bell, planned):
            planned = time.monotonic() + pause
            bell.acquire(True, pause)  # noqa: FBT003 - the lock's own signature

    def _round(self, bell: Any, planned: float) -> float:
        """Look after all hubs; return in how many seconds to do it again, 0: never."""
        with self._lock:
            if self._bell is not bell:
                return 0.0
            for loop, watch in list(self._watches.items()):
                self._look(loop, watch, planned)
            if not self._watches:
                self._bell = None
                return 0.0
            return min(watch.tick for watch in self._watches.values())

    def _look(self, loop: Any, watch: Watch, planned: float) -> None:
        try:
            watch.look(planned)
        except Exception:  # somebody destroyed the loop; other hubs are guarded as before
            self._watches.pop(loop, None)
            self._say(logging.DEBUG, "The loop %r can no more be guarded.", loop)

    def _say(self, level: int, text: str, *args: object) -> None:
        """Log in a native thread of its own.

        Handlers of the log may wait, even for the very hub that is late; the heartbeats must not.
        """
        with contextlib.suppress(RuntimeError):  # as in _start
            _start_thread(self._write, (level, text, args))

    def _write(self, level: int, text: str, args: tuple[object, ...]) -> None:
        with self._pen:
            logger.log(level, text, *args)

    # --- the process

    def _register_once(self) -> None:
        if not self._registered:
            self._registered = True
            atexit.register(self._at_exit)
            # While a process forks, the guard is in the middle of nothing: of no frame, no lock.
            os.register_at_fork(
                before=self._before_fork,
                after_in_parent=self._after_fork_in_parent,
                after_in_child=self._after_fork_in_child,
            )

    def _at_exit(self) -> None:
        with self._lock:
            self._watches.clear()
            self._stop()
        # A thread that is stopped while it writes to stderr makes the interpreter abort.
        if self._pen.acquire(True, EXIT_LIMIT):  # noqa: FBT003 - the lock's own signature
            self._pen.release()

    def _before_fork(self) -> None:
        self._lock.acquire()

    def _after_fork_in_parent(self) -> None:
        self._lock.release()

    def _after_fork_in_child(self) -> None:
        """Begin anew in a child: its parent's thread and connections are not there."""
        self._lock, self._pen = _RLock(), _allocate_lock()
        self._watches.clear()
        self._bell = None


guard = Guard()
