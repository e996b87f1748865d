"""Stands in for the greenlet of an item, for pure tests of what is being handled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Handler:
    """What handles *item*; see `postage.in_progress.Worker`."""

    def __init__(self, item: object) -> None:
        self.item = item
        self._links: list[Callable[[Any], object]] = []

    def rawlink(self, callback: Callable[[Any], object]) -> None:
        """Call *callback* in `end`."""
        self._links.append(callback)

    def end(self) -> None:
        """Call the links, which gevent does some time after the end of a greenlet."""
        for callback in self._links:
            callback(self)
