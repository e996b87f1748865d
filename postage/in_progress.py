"""Finds the handlers of a message among all that run, however many there are.  Pure.

Most messages are never sought, so an index of all of them would be work for nothing.  What starts
is noted in the order of its start, and nothing else.  When a message is sought, what has started
since the last search is looked at once, and stays in the index until its handlers have ended.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable
from itertools import takewhile
from typing import Any, Protocol

__all__ = ["InProgress", "Worker"]


class Worker(Protocol):
    """A greenlet that handles something."""

    @property
    def item(self) -> Any:
        """What is handled."""

    def rawlink(self, callback: Callable[[Any], object]) -> object:
        """Call *callback* with the worker some time after its end."""


class InProgress:
    """What all components of one hub are handling.

    *key_of* returns the key by which an item is sought, or None for one that never is.
    """

    def __init__(self, key_of: Callable[[Any], Hashable]) -> None:
        self._key_of = key_of
        self.workers: dict[Worker, None] = {}
        """The greenlets, in the order of their start.  The pool that starts a greenlet adds it
        here when its handler waits for something, and deletes it at its end."""
        self._keys: dict[Worker, Hashable] = {}  # of those that were looked at
        self._by_key: defaultdict[Hashable, dict[Worker, None]] = defaultdict(dict)

    def find(self, key: Hashable) -> list[Worker]:
        """Return the greenlets that handle items with *key*, in the order of their start."""
        newest_first = takewhile(lambda each: each not in self._keys, reversed(self.workers))
        for worker in reversed([*newest_first]):
            self._add(worker)
        return [worker for worker in self._by_key.get(key, ()) if worker in self.workers]

    def _add(self, worker: Worker) -> None:
        key = self._keys[worker] = self._key_of(worker.item)
        if key is not None:
            self._by_key[key][worker] = None
        worker.rawlink(self._remove)

    def _remove(self, worker: Worker) -> None:
        key = self._keys.pop(worker)
        if key is not None:
            del self._by_key[key][worker]
            if not self._by_key[key]:
                del self._by_key[key]
