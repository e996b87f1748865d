"""Waiting in line for room, of which there is only so much at a time."""

from __future__ import annotations

import itertools
import time
from collections import OrderedDict
from collections.abc import Callable

from gevent.hub import get_hub

from postage.green.amqp.bell import Bell

__all__ = ["Line"]

AT_ONCE = 100
"""How many are called at a time: what they do in one turn of the hub goes out as one."""


class Line:
    """Greenlets that wait until *has_room* says yes, the first ones first.

    Some are called at a time, and those for whom the others left no room keep their places.  An
    event would wake all of them whenever there is room for some: ten thousand, again and again.
    """

    def __init__(self, has_room: Callable[[], bool]) -> None:
        self._has_room = has_room
        self._waiting: OrderedDict[Bell, None] = OrderedDict()
        self._called = 0  # those of them that have not looked yet

    def __len__(self) -> int:
        return len(self._waiting)

    def let_in(self) -> None:
        """Call the first ones, if there is room; never switches.  For whenever there may be."""
        if self._called or not self._waiting or not self._has_room():
            return
        self._called = min(AT_ONCE, len(self._waiting))
        for bell in itertools.islice(self._waiting, self._called):
            bell.ring()

    def wait(self, limit: float) -> bool:
        """Wait until there is room; switches unless there is.  False: not within *limit* seconds.

        The room is the caller's until it switches.
        """
        if self._has_room():
            return True
        bell, deadline = Bell(), time.monotonic() + limit
        self._waiting[bell] = None
        try:
            while True:
                bell.wait(max(0.0, deadline - time.monotonic()))
                if not bell.is_rung or self._has_room():
                    return bell.is_rung
                bell.mute()
                self._note_look()
        finally:
            del self._waiting[bell]
            if bell.is_rung:  # it may have been killed, too
                self._note_look()

    def _note_look(self) -> None:
        """One that was called has looked; after the last one, and what it does now, call others."""
        self._called -= 1
        if not self._called:
            get_hub().loop.run_callback(self.let_in)
