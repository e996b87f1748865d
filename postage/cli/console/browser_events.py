"""The state for all browsers, as server-sent events: https://html.spec.whatwg.org, section 9.2.

How it works
------------
Each state is compared with the one before it, and what differs is encoded once for all browsers.  A
browser that has got the state before gets the difference; one that has just come, or was too slow,
gets the whole state.  So a browser needs no queue: what it has not taken yet is one text, which all
share.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import gevent.event

from postage.cli.console.state import Collections
from postage.errors import PostageError

__all__ = ["MOST_STREAMS", "BrowserEvents", "StateStream", "TooManyBrowsers", "difference"]

MOST_STREAMS = 64
"""Browsers that are served at a time."""
KEEP_ALIVE = 10.0
"""Seconds without a change after which a comment is sent, so that a lost connection is noticed."""


class TooManyBrowsers(PostageError):
    """So many browsers watch already that the next one is refused."""

    def __init__(self, most: int = MOST_STREAMS) -> None:
        super().__init__(f"{most} browsers watch already: close a page of the console elsewhere")


def difference(before: Collections, after: Collections) -> dict[str, Any]:
    """Return the entries of *after* that *before* has not; None stands for one that has gone."""
    found = {}
    for name, entries in after.items():
        old = before.get(name, {})
        changed = {
            id_: entry for id_, entry in entries.items() if id_ not in old or old[id_] != entry
        }
        changed |= dict.fromkeys(old.keys() - entries.keys())
        if changed:
            found[name] = changed
    return found


class StateStream:
    """Takes states by `publish`, and gives each browser the events of `events`.

    *history* returns what goes with a whole state.
    """

    def __init__(self, history: Callable[[], Any], most: int = MOST_STREAMS) -> None:
        self._history, self._most = history, most
        self._state: Collections = {}
        self.number = 0
        """How many states there have been."""
        self._change = self._whole = self._whole_event = b""
        self._next = gevent.event.Event()
        self.streams = 0
        """How many browsers watch."""

    def publish(self, state: Collections) -> None:
        """Let all browsers have *state*, which is not changed afterwards; never switches."""
        changed = difference(self._state, state)
        self._state = state
        if not changed:
            return
        self.number += 1
        self._whole = self._whole_event = b""
        self._change = event_of("change", compact_json(changed)) if self.streams else b""
        self._next.set()
        self._next = gevent.event.Event()

    def whole(self) -> bytes:
        """Return the whole state with its history, as JSON that all who ask for it share."""
        if not self._whole:
            self._whole = compact_json({**self._state, "history": self._history()})
        return self._whole

    def events(self) -> BrowserEvents:
        """Return the events for one browser; raises `TooManyBrowsers`."""
        if self.streams >= self._most:
            raise TooManyBrowsers(self._most)
        return BrowserEvents(self)

    def wait(self) -> bool:
        """Wait for the next state, at most `KEEP_ALIVE` seconds; tell whether it came."""
        return self._next.wait(KEEP_ALIVE)

    def after(self, number: int) -> tuple[int, bytes]:
        """Return the number of the last state, and what a browser lacks that has got *number*.

        The text is empty if it lacks nothing.
        """
        if number == self.number:
            return number, b""
        if number == self.number - 1 and self._change:
            return self.number, self._change
        return self.number, self._as_event()

    def _as_event(self) -> bytes:
        if not self._whole_event:
            self._whole_event = event_of("state", self.whole())
        return self._whole_event


class BrowserEvents:
    """The events for one browser, which never end; `close` frees its place."""

    def __init__(self, stream: StateStream) -> None:
        self._stream, self._number, self._is_open = stream, -1, True
        stream.streams += 1

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        """Return the next event, when there is one; switches."""
        self._number, text = self._stream.after(self._number)
        while not text:
            if not self._stream.wait():
                return b": \n\n"
            self._number, text = self._stream.after(self._number)
        return text

    def close(self) -> None:
        """Called by the server when the browser has gone."""
        if self._is_open:
            self._is_open = False
            self._stream.streams -= 1


def compact_json(data: Any) -> bytes:
    """Return *data* as one line: JSON has no line breaks."""
    return json.dumps(data, separators=(",", ":"), allow_nan=False).encode()


def event_of(name: str, line: bytes) -> bytes:
    """Return an event that has *line* as its data."""
    return b"event: %s\ndata: %s\n\n" % (name.encode(), line)
