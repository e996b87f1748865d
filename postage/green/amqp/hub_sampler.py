"""Looks about twenty times a second at what holds a hub, and tells the flight recorder.

How it works
------------
The native thread of the `HubMonitor` calls `HubSampler.look`.  A look reads two things that cost
the hub nothing: how many times its loop has polled, and the innermost frame of its native thread.
If the loop has not polled since the last look, and does not wait for events, the code in the frame
holds the hub.  Each look counts the line that runs.  After `HELD` seconds an entry of the flight
recorder names the line that was seen most often; the entry grows until the hub turns.

C code that keeps the interpreter's lock also stops the looking thread.  Python gives the lock away
when the C code returns to the line that has called it.  So a look that comes late, while the hub's
thread wanted a processor, finds this line, and counts the delay.  After an operator, such as ``in``
or ``**``, Python goes on with the lock.  Then the look finds a later line, or only the handler that
has ended.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import gevent.hub

from postage.flight_recorder import Entry, EventKind, FlightRecorder, flight_recorder
from postage.green.amqp.blocker import Holder, ThreadClock, holder_of, last_handler

__all__ = ["HELD", "SAMPLE", "HubSampler"]

SAMPLE = 0.05
"""Seconds between two looks."""
HELD = 0.1
"""Seconds from which on a held hub is noted."""
TIMED = 0.5
"""Seconds after which the processor time of a hub is read again: reading it takes as long as a few
looks."""
MOST_LINES = 50
"""Different lines of one hold that are counted."""

_IDLE = gevent.hub.Hub.run.__code__


class HubSampler:
    """Samples the hub of *loop*, which runs in the native thread with the identity *thread*.

    Made in that thread; `look` is for the monitor's native thread only.  *is_needed* tells whether
    anything waits for the hub.
    """

    def __init__(
        self,
        loop: Any,
        thread: int,
        is_needed: Callable[[], bool],
        recorder: FlightRecorder = flight_recorder,
    ) -> None:
        self._loop, self._thread, self._is_needed = loop, thread, is_needed
        self._recorder = recorder
        self._clock = ThreadClock()
        self._turn, self._is_running = -1, False
        self._since = self._timed = time.monotonic()
        self._seen: Counter[Holder] = Counter()
        self._entry: Entry | None = None

    def look(self, delay: float) -> None:
        """Look once, *delay* seconds late; never waits."""
        now, turn = time.monotonic(), self._loop.iteration
        frame = sys._current_frames().get(self._thread)  # noqa: SLF001 - it is documented
        is_running = frame is not None and frame.f_code is not _IDLE
        goes_on = is_running and self._is_running and turn == self._turn
        is_late = delay >= HELD
        # At once: all that reads a file gives the lock back to the hub's thread, which goes on.
        holder = holder_of(frame) if is_running and (goes_on or is_late) else None
        if is_late and holder is None:
            holder = last_handler(frame)
        # Otherwise the machine was busy, or stopped, and nothing has held the hub.
        was_stopped = is_late and self._clock.elapsed() >= delay / 2
        if is_late or now - self._timed >= TIMED:
            self._clock.start()
            self._timed = now
        self._turn, self._is_running = turn, is_running
        if not goes_on:
            self._since = now - delay if was_stopped else now
            self._seen.clear()
            self._entry = None
        if (goes_on or (is_running and was_stopped)) and self._is_needed():
            self._count(holder, now)

    def _count(self, holder: Holder | None, now: float) -> None:
        if holder is not None and (holder in self._seen or len(self._seen) < MOST_LINES):
            self._seen[holder] += 1
        if now - self._since < HELD or not self._seen:
            return
        ((most, count),) = self._seen.most_common(1)
        text = f"{most.place}: {most} ({count} of {sum(self._seen.values())} looks)"
        if self._entry is None:
            self._entry = self._recorder.note(EventKind.HELD, text)
        self._entry.rename(text)
        self._recorder.held += now - self._since - self._entry.seconds
        self._entry.at, self._entry.seconds = now, now - self._since
