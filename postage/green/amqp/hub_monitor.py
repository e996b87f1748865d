"""One native thread per process that keeps connections alive while a hub does not run.

How it works
------------
All greenlets of a hub share its native thread.  While a handler computes, no other greenlet runs,
no heartbeat is written, and after two silent intervals the broker drops the connection.

`HubMonitor` runs a native thread as long as there is a connection to monitor.  Every half second
(`TICK`) the thread pings each hub through an async watcher of its loop.  A hub that runs answers
in its next turn.  While the answer is missing, `MonitoredHub` does two things:

* It writes the heartbeats of the hub's connections, each twice per interval.
* After ``late_after`` seconds it logs the handler and the line that hold the hub (`blocker`), if
  anything of Postage needs the hub: a component that listens, a call, an answer of the broker.
  Once the hub runs again, it logs for how long it was held.

What a greenlet has written, the hub sends at the end of its turn.  If the native thread, which
looks every `LOOK` seconds, finds it unsent in a turn that takes long, the thread sends it.  The
thread looks only while something is written: after a `ROUND` of looks without anything new it is
`asleep`, and the next write wakes it.  So a hub that turns pays for one comparison per write, an
idle process for nothing, and a busy one for a few hundred short looks a second.  With one caller
at a time these looks are a twelfth of the processor time of a call, and slow it by 2 %; with 100
callers they cannot be measured.

Because of this second thread, a transport's socket has a lock.  docs/heartbeats.md lists the cases
that the monitor cannot cover, such as C code that holds the interpreter's lock.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import time
from collections.abc import Callable
from typing import Any, Protocol

import gevent.monkey

from postage.green.amqp.blocker import ThreadClock, blocking_frame
from postage.green.amqp.hub_door import native_thread
from postage.green.amqp.hub_sampler import SAMPLE, HubSampler
from postage.log_records import logger_of

__all__ = ["HubMonitor", "MonitoredConnection", "MonitoredHub", "hub_monitor"]

logger = logger_of(__name__)

TICK = 0.5
"""Seconds between two pings of a hub: often enough for most heartbeats, and almost no work."""
LOOK = 0.002
"""Seconds between two looks for data that a hub has not sent.  A greenlet that computes keeps the
interpreter's lock for another 5 ms, so the data leaves within about 10 ms."""
ROUND = 20
"""Looks after which the thread sleeps, if nothing was written meanwhile."""
EXIT_LIMIT = 0.2
"""Seconds that a program which ends waits for a log line that is being written."""
LATE_WARNING = "No other greenlet has run for %.1f s because of %s.  %s; see docs/heartbeats.md."
COMPUTES = "Give it shorter turns (gevent.sleep(0)), or do its work in a process pool"
WAITS = """\
It waits in a way that lets no greenlet run: call green.patch_all() at the beginning of the \
program, or wait in the hub's pool of native threads"""
WAITS_PATCHED = """\
It waits in a way that lets no greenlet run, although green.patch_all() was called: wait in the \
hub's pool of native threads"""
BACK_NOTICE = "The other greenlets run again, after %.1f s of %s."

# The real ones, even where threading is patched: this thread must run while greenlets cannot.
_start_thread = gevent.monkey.get_original("_thread", "start_new_thread")
_allocate_lock = gevent.monkey.get_original("_thread", "allocate_lock")
_RLock = gevent.monkey.get_original("_thread", "RLock")

Log = Callable[..., None]
"""Takes level, text and arguments, as ``Logger.log`` does."""


class MonitoredConnection(Protocol):
    """A connection whose heartbeats the monitor writes: a transport."""

    @property
    def loop(self) -> Any:
        """The event loop of its hub."""

    @property
    def interval(self) -> float:
        """Its heartbeat in seconds; 0: none."""

    @property
    def written(self) -> int:
        """Bytes that were written so far, sent or not."""

    @property
    def is_needed(self) -> bool:
        """Whether anything waits for its hub; asked in the monitor's native thread."""

    def beat(self) -> None:
        """Write a heartbeat frame; called in the monitor's native thread."""

    def send_waiting(self) -> bool:
        """Send what waits, if the hub does not turn; called in the monitor's native thread.

        Returns whether anything waits that the hub is about to send.
        """


class MonitoredHub:
    """One hub: the last ping, its answer, its connections, and their heartbeats.

    All methods except `_answer` are for the monitor's native thread, or for the holder of the
    monitor's lock.
    """

    def __init__(self, loop: Any, thread: int, log: Log) -> None:
        self._thread, self._log, self._clock = thread, log, ThreadClock()
        # Not run_callback_threadsafe: that counts references to the loop without a lock.
        self._ping = loop.async_(ref=False)
        self._ping.start(self._answer)
        self.sampler = HubSampler(loop, thread, self._is_needed)
        self.connections: dict[MonitoredConnection, float] = {}
        """The connections, each with the seconds after which to report a hub that does not run."""
        self._beats: dict[MonitoredConnection, float] = {}  # when `_keep_alive` wrote the last one
        self._pinged = self._answered = time.monotonic()
        self._answer_due = False
        self._held_by = ""

    @property
    def tick(self) -> float:
        """Seconds until the next `check`: four fit into a heartbeat, two into *late_after*."""
        beats = [each.interval / 4 for each in self.connections if each.interval]
        late = [late_after / 2 for late_after in self.connections.values()]
        return min([TICK, *beats, *late])

    def check(self, planned: float) -> None:
        """Act if the answer to the last ping is missing; if it is here, ping again.

        *planned* is the time for which this check was planned.  The hub counts as held from
        then, because C code that keeps the interpreter's lock also delays this thread.
        """
        if not self._answer_due:
            self.report_back()
            self._pinged, self._answer_due = planned, True
            self._clock.start()
            self._ping.send()
        held = time.monotonic() - self._pinged
        if held >= self.tick:
            self._keep_alive()
        late = held > min(self.connections.values()) and not self._held_by
        if late and self._is_needed():
            self._report_late(held)

    def _is_needed(self) -> bool:
        return any(each.is_needed for each in self.connections)

    def _answer(self) -> None:
        self._answered = time.monotonic()
        self._answer_due = False

    @property
    def lateness(self) -> float:
        """How long the last answer took, or has taken so far; for any native thread."""
        return (time.monotonic() if self._answer_due else self._answered) - self._pinged

    def _keep_alive(self) -> None:
        now = time.monotonic()
        for each in self.connections:
            if each.interval and now - self._beats.get(each, 0.0) >= each.interval / 2:
                self._beats[each] = now
                each.beat()

    def _report_late(self, held: float) -> None:
        try:
            self._held_by = blocking_frame(self._thread) or ""
        except Exception:  # the heartbeats must continue, whatever the stack holds
            self._held_by = "code that could not be identified"
        if self._held_by:
            self._log(logging.WARNING, LATE_WARNING, held, self._held_by, self._advice(held))

    def _advice(self, held: float) -> str:
        if self._clock.elapsed() > held / 5:  # less than all of it, where others compute, too
            return COMPUTES
        return WAITS_PATCHED if gevent.monkey.is_module_patched("time") else WAITS

    def report_back(self) -> None:
        """Log that the hub runs again, if `check` has reported it late."""
        if self._held_by:
            back = time.monotonic() if self._answer_due else self._answered
            self._log(logging.INFO, BACK_NOTICE, back - self._pinged, self._held_by)
            self._held_by = ""

    def discard(self, connection: MonitoredConnection) -> None:
        """Stop monitoring *connection*; no error if it is not monitored."""
        self.connections.pop(connection, None)
        self._beats.pop(connection, None)

    def close(self) -> None:
        """Stop pinging; for the thread of the hub."""
        self._ping.stop()
        self._ping.close()


def _wait(lock: Any, seconds: float) -> None:
    """Wait until *lock* is released, at most *seconds*."""
    lock.acquire(True, seconds)  # noqa: FBT003 - the lock's own signature


def _release(lock: Any) -> None:
    """Let the thread that waits for *lock* go on; None: no thread."""
    if lock is not None:
        with contextlib.suppress(RuntimeError):  # it is released already
            lock.release()


class HubMonitor:
    """Monitors each connection from `add` to `discard`, which the thread of its hub calls."""

    def __init__(self) -> None:
        # Lock order: this one, then a transport's.  Reentrant, because in either thread the garbage
        # collector may end a hub, and with it its connections, in the middle of a check.
        self._lock = _RLock()
        self._log_lock = _allocate_lock()
        self._hubs: dict[Any, MonitoredHub] = {}
        self._wake_lock: Any = None  # the thread waits in its acquire(); None: no thread
        self._connections: tuple[MonitoredConnection, ...] = ()
        self._written = 0  # bytes of all connections, when the thread last asked
        self._sample_at = 0.0
        self.asleep = False
        """Whether the thread must be told by `wake` that something was written."""
        self._registered = False

    def __repr__(self) -> str:
        state = "idle" if self._wake_lock is None else "running"
        return f"<HubMonitor of {len(self._hubs)} hubs, {state}>"

    def lateness(self) -> float:
        """Return how long the last answer took of the hub that took longest; 0 without a hub."""
        return max((0.0, *(each.lateness for each in list(self._hubs.values()))))

    def add(self, connection: MonitoredConnection, late_after: float) -> None:
        """Monitor *connection*, of this thread's hub; report a hub held for *late_after* s."""
        with self._lock:
            self._register_once()
            if connection.loop not in self._hubs:
                hub = MonitoredHub(connection.loop, native_thread(), self._log)
                self._hubs[connection.loop] = hub
            self._hubs[connection.loop].connections[connection] = late_after
            self._connections += (connection,)
            if self._wake_lock is None:
                self._start()

    def discard(self, connection: MonitoredConnection) -> None:
        """Stop monitoring *connection*; the thread ends after the last one."""
        with self._lock:
            hub = self._hubs.get(connection.loop)
            if hub is None:
                return
            hub.discard(connection)
            self._connections = tuple(c for c in self._connections if c is not connection)
            if not hub.connections:
                del self._hubs[connection.loop]
                hub.report_back()
                hub.close()
            if not self._hubs:
                self._stop()

    # --- the thread

    def _start(self) -> None:
        wake_lock = _allocate_lock()
        wake_lock.acquire()
        try:
            _start_thread(self._run, (wake_lock,))
        except RuntimeError as exc:  # too many threads, or the interpreter is about to end
            level = logging.DEBUG if "shutdown" in str(exc) else logging.WARNING
            logger.log(level, "Heartbeats are written by the hub alone: %s.", exc)
        else:
            self._wake_lock = wake_lock

    def _stop(self) -> None:
        wake_lock, self._wake_lock = self._wake_lock, None
        _release(wake_lock)

    def wake(self) -> None:
        """Let the thread look for data; for any native thread, after a write if it is `asleep`."""
        self.asleep = False
        _release(self._wake_lock)

    def _run(self, wake_lock: Any) -> None:
        planned = time.monotonic()
        self._sample_at = planned
        while True:
            self._sample()
            with self._lock:
                if self._wake_lock is not wake_lock:
                    return
                planned = self._check_all(planned)
                if not self._hubs:
                    self._wake_lock = None
                    return
            self._send_until(planned, wake_lock)

    def _check_all(self, planned: float) -> float:
        """Check all hubs; return the time of the next check."""
        for loop, hub in list(self._hubs.items()):
            self._check(loop, hub, planned)
        return time.monotonic() + min((each.tick for each in self._hubs.values()), default=0.0)

    def _send_until(self, planned: float, wake_lock: Any) -> None:
        """Send what the hubs do not send, until the time *planned* or the end of the thread."""
        while self._wake_lock is wake_lock:
            self._sample()
            self.asleep = True  # before the question, so that no write remains unnoticed
            written = sum([each.written for each in self._connections])
            waits = self._look()
            looks, self._written = ROUND if written != self._written else int(waits), written
            if looks:
                self.asleep = False
            for _ in range(looks):
                _wait(wake_lock, LOOK)
                self._look()
            left = planned - time.monotonic()
            if left <= 0:
                return
            if not looks:
                _wait(wake_lock, min(left, max(0.0, self._sample_at - time.monotonic())))

    def _sample(self) -> None:
        """Look at what each hub does, if `SAMPLE` seconds have passed since the last time.

        After all that gives the interpreter's lock back this comes first: see `HubSampler.look`.
        """
        while (now := time.monotonic()) >= self._sample_at:
            delay, self._sample_at = now - self._sample_at, now + SAMPLE
            with self._lock, contextlib.suppress(Exception):  # a loop was destroyed: see `_check`
                for each in self._hubs.values():
                    each.sampler.look(delay)

    def _look(self) -> bool:
        """Send what hubs that do not turn have left; return whether anything else waits."""
        waits = False
        self._sample()
        for each in self._connections:
            # The lock: not while the process forks.  After any error, the hub sends, and finds
            # the same error; the thread must go on for the other connections.
            with self._lock, contextlib.suppress(Exception):
                waits |= each.send_waiting()
        self._sample()
        return waits

    def _check(self, loop: Any, hub: MonitoredHub, planned: float) -> None:
        try:
            hub.check(planned)
        except Exception:  # the loop was destroyed; the other hubs are monitored as before
            self._hubs.pop(loop, None)
            self._connections = tuple(c for c in self._connections if c.loop is not loop)
            self._log(logging.DEBUG, "The loop %r can no longer be monitored.", loop)

    def _log(self, level: int, text: str, *args: object) -> None:
        """Log in a further native thread.

        A logging handler may wait for the hub that is held; heartbeats must not wait.
        """
        with contextlib.suppress(RuntimeError):  # as in _start
            _start_thread(self._write, (level, text, args))

    def _write(self, level: int, text: str, args: tuple[object, ...]) -> None:
        with self._log_lock:
            logger.log(level, text, *args)

    # --- the process

    def _register_once(self) -> None:
        if not self._registered:
            self._registered = True
            atexit.register(self._at_exit)
            # Hold the lock while forking, so that the child inherits no half-written frame.
            os.register_at_fork(
                before=self._before_fork,
                after_in_parent=self._after_fork_in_parent,
                after_in_child=self._after_fork_in_child,
            )

    def _at_exit(self) -> None:
        with self._lock:
            self._hubs.clear()
            self._connections = ()
            self._stop()
        # The interpreter aborts if a thread is stopped while it writes to stderr.
        if self._log_lock.acquire(True, EXIT_LIMIT):  # noqa: FBT003 - the lock's own signature
            self._log_lock.release()

    def _before_fork(self) -> None:
        self._lock.acquire()

    def _after_fork_in_parent(self) -> None:
        self._lock.release()

    def _after_fork_in_child(self) -> None:
        """Reset the child's copy: neither the thread nor the connections belong to the child."""
        self._lock, self._log_lock = _RLock(), _allocate_lock()
        self._hubs.clear()
        self._connections = ()
        self._wake_lock = None


hub_monitor = HubMonitor()
