"""What has lately gone wrong in this process: held hubs, slow handlers, reconnects, refusals.

How it works
------------
The runtime notes each event as an `Entry`.  Each `EventKind` has a ring of the last `MOST` entries,
so a flood of one kind does not push out the others.  An entry has at most `LONGEST` characters, so
all rings together take at most 1 MB.  Entries older than `WINDOW` are not shown.

An entry may still change: that of a hub which is held grows until the hub runs again.  So it also
shows in a snapshot that is made meanwhile.

Nothing here waits or locks, because signal handlers and the native thread of the hub monitor use
it, too.  Appending to a deque and copying one are atomic in CPython.
"""

from __future__ import annotations

import enum
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from postage.foreign_text import one_line

__all__ = ["MOST_TOLD", "WINDOW", "Entry", "EventKind", "FlightRecorder", "flight_recorder"]

WINDOW = 60.0
"""Seconds for which an entry is shown."""
MOST = 200
"""Entries that are kept of each kind."""
MOST_TOLD = 100
"""Entries that a process tells others at a time: the last ones."""
LONGEST = 400
"""Characters that are kept of the text of an entry."""


class EventKind(enum.Enum):
    """What an entry is about."""

    HELD = "held the hub"
    """Code that let no other greenlet run."""
    SLOW = "slow"
    """A handler that took long, but let others run."""
    CONNECTION = "connection"
    """A connection was lost, could not be made, or was made again."""
    REFUSAL = "refused"
    """The broker has closed a channel because of a mistake."""
    ALARM = "alarm"
    """The broker takes no publishes, or takes them again."""


@dataclass(slots=True)
class Entry:
    """One event; only the code that has noted it may change it."""

    kind: EventKind
    text: str
    """What has happened, on one line."""
    at: float
    """When it was noted, or has ended, in seconds of `time.monotonic`."""
    seconds: float = 0.0
    """How long it has lasted; 0 for an event without duration."""

    def rename(self, text: object) -> None:
        """Replace the text; it is cut and escaped."""
        self.text = one_line(text, LONGEST)

    def as_line(self, now: float) -> str:
        """Return the entry as one line; *now* is a time of `time.monotonic`."""
        moment = time.strftime("%H:%M:%S", time.localtime(time.time() - (now - self.at)))
        lasted = f" for {self.seconds:.2f} s" if self.seconds else ""
        return f"{moment} {self.kind.value}{lasted}: {self.text}"

    def as_values(self, now: float) -> dict[str, Any]:
        """Return the entry as values for JSON; ``ago`` is in seconds."""
        ago = round(now - self.at, 3)
        values = {"kind": self.kind.name.lower(), "ago": ago, "seconds": round(self.seconds, 3)}
        return {**values, "text": self.text}


class FlightRecorder:
    """Keeps the events of the last minute; any native thread may use it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.held = 0.0
        """Seconds for which hubs were held, since the process began; holds that are noted only."""
        self._rings: dict[EventKind, deque[Entry]] = {
            kind: deque(maxlen=MOST) for kind in EventKind
        }

    def note(self, kind: EventKind, text: object, seconds: float = 0.0) -> Entry:
        """Keep an event that ends now and has lasted *seconds*; return its entry."""
        entry = Entry(kind, one_line(text, LONGEST), self._clock(), seconds)
        self._rings[kind].append(entry)
        return entry

    def entries(self, window: float = WINDOW) -> list[Entry]:
        """Return the entries of the last *window* seconds, the oldest first."""
        since = self._clock() - window
        recent = [each for ring in self._rings.values() for each in ring.copy() if each.at >= since]
        return sorted(recent, key=lambda each: each.at)

    def lines(self, window: float = WINDOW) -> list[str]:
        """Return these entries as lines."""
        now = self._clock()
        return [each.as_line(now) for each in self.entries(window)]

    def values(self, window: float = WINDOW) -> list[dict[str, Any]]:
        """Return these entries as values for JSON."""
        now = self._clock()
        return [each.as_values(now) for each in self.entries(window)]

    def clear(self) -> None:
        """Forget all entries: for a forked child, which has done nothing yet, and for tests."""
        for ring in self._rings.values():
            ring.clear()


flight_recorder = FlightRecorder()
"""That of this process."""
