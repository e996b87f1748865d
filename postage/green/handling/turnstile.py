"""Limits how many messages are handled at a time, and how many begin per second.

A message that has to wait stands in a line, without a greenlet.  Messages leave the line in order:
a place that becomes free belongs at once to the first message in the line.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import gevent

from postage.green.amqp.delivery import Delivery
from postage.handler_limits import TokenBucket

__all__ = ["Turnstile"]


class Turnstile:
    """A line of deliveries; *size* of them may run at a time (None: any number).

    *bucket* limits how many begin per second.  *admit* is called for a delivery that has left the
    line, with True if the delivery has a place, or with False if *is_over* says that it needs none.
    For the thread of the hub.  No method switches.
    """

    __slots__ = ("_admit", "_bucket", "_is_over", "_line", "_size", "_timer", "busy")

    def __init__(
        self,
        admit: Callable[[Turnstile, Delivery, bool], object],
        is_over: Callable[[Delivery], bool],
        size: int | None = None,
        bucket: TokenBucket | None = None,
    ) -> None:
        self._admit, self._is_over, self._size, self._bucket = admit, is_over, size, bucket
        self._line: deque[Delivery] = deque()
        self._timer: Any = None
        self.busy = 0
        """How many deliveries have a place."""

    def __len__(self) -> int:
        return len(self._line)

    def enter(self, delivery: Delivery) -> bool:
        """Give *delivery* a place and return True; or put it in the line and return False."""
        if not self._line and self._is_free():
            self.busy += 1
            return True
        self._line.append(delivery)
        self._wait_for_token()
        return False

    def leave(self) -> None:
        """Free a place, which the first delivery in the line gets."""
        self.busy -= 1
        self._advance()

    def resize(self, size: int | None) -> None:
        """Let *size* deliveries run at a time from now on."""
        self._size = size
        self._advance()

    def withdraw(self) -> list[Delivery]:
        """Empty the line, and return the deliveries that stood in it, in their order."""
        line, self._line = self._line, deque()
        self._stop_timer()
        return [*line]

    def _is_free(self) -> bool:
        has_room = self._size is None or self.busy < self._size
        return has_room and (self._bucket is None or self._bucket.take())

    def _advance(self) -> None:
        while self._line:
            is_over = self._is_over(self._line[0])
            if not (is_over or self._is_free()):
                self._wait_for_token()
                return
            self.busy += not is_over
            self._admit(self, self._line.popleft(), not is_over)

    def _wait_for_token(self) -> None:
        """Look again as soon as there is a token, unless the end of a handler comes first."""
        has_room = self._size is None or self.busy < self._size
        if self._bucket is not None and has_room and self._timer is None:
            self._timer = gevent.get_hub().loop.timer(self._bucket.pause, ref=False)
            self._timer.start(self._on_timer, update=True)

    def _on_timer(self) -> None:
        self._stop_timer()
        self._advance()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.close()
            self._timer = None
