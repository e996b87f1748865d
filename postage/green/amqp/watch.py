"""The watch over one hub: whether it answers in time, and what becomes of its connections."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any, Protocol

from postage.green.amqp.blocker import culprit

__all__ = ["Ward", "Watch"]

TICK = 0.5
"""Seconds between two questions to a hub: often enough for most heartbeats, and next to no work."""
LATE = """\
No other greenlet has run for %.1f s; what runs is %s.  Give it shorter turns (gevent.sleep(0)), \
or do its work in a process pool; see docs/heartbeats.md."""
BACK = "The other greenlets run again, after %.1f s; what ran was %s."

Say = Callable[..., None]
"""Logs: level, text, arguments."""


class Ward(Protocol):
    """A connection that is kept alive: a transport."""

    @property
    def loop(self) -> Any:
        """The event loop of its hub."""

    @property
    def interval(self) -> float:
        """Its heartbeat in seconds; 0: none."""

    def beat(self) -> None:
        """Write a heartbeat frame; called in the guard's native thread."""


class Watch:
    """Asks one hub, in the native thread *thread*, to answer, and acts while it does not.

    All but `_answer` is for the guard's native thread, or for whoever holds the guard's lock.
    """

    def __init__(self, loop: Any, thread: int, say: Say) -> None:
        self._thread, self._say = thread, say
        # Not run_callback_threadsafe: it counts the references of the loop, without a lock.
        self._question = loop.async_(ref=False)
        self._question.start(self._answer)
        self.wards: dict[Ward, float] = {}
        """The connections, and after how many seconds each wants to hear who is late."""
        self._beats: dict[Ward, float] = {}  # when the last heartbeat was written here
        self._asked = self._answered = time.monotonic()
        self._answer_due = False
        self._held_by = ""

    @property
    def tick(self) -> float:
        """Seconds until the next look: four in a heartbeat, two before anyone is called late."""
        beats = [ward.interval / 4 for ward in self.wards if ward.interval]
        return min([TICK, *beats, *(late_after / 2 for late_after in self.wards.values())])

    def look(self, planned: float) -> None:
        """Judge by the answer to the last question, and ask the next one.

        *planned* is when this look should have been.  It counts from then: one call into C that
        does not let go of the interpreter holds up this thread as well as the hub.
        """
        if not self._answer_due:
            self.end()
            self._asked, self._answer_due = planned, True
            self._question.send()
        held = time.monotonic() - self._asked
        if held >= self.tick:
            self._keep_alive()
        if held > min(self.wards.values()) and not self._held_by:
            self._accuse(held)

    def _answer(self) -> None:
        self._answered = time.monotonic()
        self._answer_due = False

    def _keep_alive(self) -> None:
        now = time.monotonic()
        for ward in self.wards:
            if ward.interval and now - self._beats.get(ward, 0.0) >= ward.interval / 2:
                self._beats[ward] = now
                ward.beat()

    def _accuse(self, held: float) -> None:
        try:
            self._held_by = culprit(self._thread) or ""
        except Exception:  # whatever a stack holds, the heartbeats go on
            self._held_by = "code that cannot be told"
        if self._held_by:
            self._say(logging.WARNING, LATE, held, self._held_by)

    def end(self) -> None:
        """Say that the hub is back, if anything was said of its absence."""
        if self._held_by:
            back = time.monotonic() if self._answer_due else self._answered
            self._say(logging.INFO, BACK, back - self._asked, self._held_by)
            self._held_by = ""

    def close(self) -> None:
        """Ask no more; for the thread of the hub."""
        self._question.stop()
        self._question.close()

    def forget(self, ward: Ward) -> None:
        """Leave a connection that has ended to itself."""
        self.wards.pop(ward, None)
        self._beats.pop(ward, None)
