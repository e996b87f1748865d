"""Work that one method can cause in any amount, done a little in each turn of the hub.

One dead letter may go to a thousand queues, one nack may concern a million messages.  All clients
would wait if this was done at once.  The broker does as much at once as takes a few milliseconds,
which is everything in ordinary cases, and puts the rest here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection
from functools import partial
from typing import TypeVar

from postage.broker.core.clock import Timers
from postage.log_records import counted, logger_of, place_of

__all__ = ["AT_ONCE", "MOST_EFFORT", "Backlog"]

logger = logger_of(__name__)

T = TypeVar("T")

MOST_EFFORT = 10_000
"""The effort of one turn: estimated microseconds."""
ITEM = 5
"""The effort of an item of `Backlog.each`."""
AT_ONCE = MOST_EFFORT // ITEM
"""Items of `Backlog.each` that are handled in one turn."""


class Backlog:
    """The work that waits.

    ``with backlog:`` lets all that is added inside share the effort of one turn, and wait until the
    block ends.
    """

    def __init__(self, timers: Timers) -> None:
        self._timers = timers
        self._steps: deque[tuple[Callable[[], int], str]] = deque()
        self._is_due = False
        """Whether a timer will go on with the work."""
        self._depth = self._left = 0
        """The nested blocks that are running, and the effort that is left to them."""

    def __len__(self) -> int:
        return len(self._steps)

    def __enter__(self) -> None:
        if not self._depth:
            self._left = MOST_EFFORT
        self._depth += 1

    def __exit__(self, *_: object) -> None:
        self._depth -= 1
        if self._steps and not self._depth and not self._is_due:
            self._run()

    def add(self, step: Callable[[], int], work: str) -> None:
        """Do *step*, which returns its effort, after all work before it; logs call it *work*."""
        with self:
            self._steps.append((step, work))

    def each(self, items: Collection[T], handle: Callable[[list[T]], None], work: str) -> None:
        """Call *handle* with *items* in parts: the first part now, others in later turns.

        A deque is emptied; of other collections, a copy is.  So nothing is kept that was handled.
        """
        with self:
            self._part(items if isinstance(items, deque) else deque(items), handle, work)

    def _part(self, rest: deque[T], handle: Callable[[list[T]], None], work: str) -> int:
        """Handle the next part, as large as the effort that is left allows."""
        room = min(len(rest), max(1, self._left // ITEM))
        part = [rest.popleft() for _ in range(room)]
        self._left -= room * ITEM
        if rest:  # this is noted first, because *handle* may fail
            self._steps.append((partial(self._part, rest, handle, work), work))
        handle(part)
        return 0  # the effort has been subtracted already

    def _run(self) -> None:
        self._depth += 1
        while self._steps and self._left > 0:
            effort = self._done(*self._steps.popleft())  # which may use up effort by itself
            self._left -= effort
        self._depth -= 1
        if self._steps:
            self._is_due = True
            self._timers.later(0, self._go_on)

    def _go_on(self) -> None:
        self._is_due, self._left = False, MOST_EFFORT
        self._run()

    def _done(self, step: Callable[[], int], work: str) -> int:
        """Do *step*, and return its effort; a bug in it does not concern the other steps."""
        try:
            return step()
        except Exception as exc:  # nothing may be raised into the hub
            logger.exception("A bug in the broker lost %s.", work, extra=counted(*place_of(exc)))
            return MOST_EFFORT
