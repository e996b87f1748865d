"""The publishes of a channel that wait for RabbitMQ's confirm.  Pure: no gevent, no I/O."""

from __future__ import annotations

from itertools import takewhile
from typing import Generic, TypeVar

__all__ = ["ConfirmTotals", "Confirms", "confirm_totals"]

T = TypeVar("T")


class ConfirmTotals:
    """Counts the publishes that were answered, on all channels of this process."""

    def __init__(self) -> None:
        self.confirmed = self.nacked = 0


confirm_totals = ConfirmTotals()
"""The counts of this process."""


class Confirms(Generic[T]):
    """The waiters for unconfirmed publishes; the n-th publish of a confirming channel has tag n.

    A mandatory message that reaches no queue is returned before it is confirmed.  The
    return carries no tag, and the order of returns does not identify the message either: earlier
    messages may still be on their way into queues.  So its waiter is found by the message id, which
    is unique among the waiters, because a message is published again only after the try before has
    ended.
    """

    def __init__(self) -> None:
        self._last = 0
        self._waiting: dict[int, T] = {}  # in the order of their tags
        self._tags: dict[str, int] = {}  # of mandatory messages, by message id
        self._ids: dict[int, str] = {}  # and the reverse

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def expected(self) -> int:
        """The last tag, which counts the publishes."""
        return self._last

    def expect(self, waiter: T, mandatory: str | None = None) -> int:
        """Note that *waiter* publishes now; return the tag of its message.

        *mandatory* is the id of a message that is returned if it reaches no queue.
        """
        self._last += 1
        self._waiting[self._last] = waiter
        if mandatory is not None:
            self._tags[mandatory], self._ids[self._last] = self._last, mandatory
        return self._last

    def pop(self, tag: int, *, multiple: bool, nack: bool = False) -> list[T]:
        """Remove and return the waiters, in order, that a confirm of *tag* answers; count them."""
        if multiple:
            tags = list(takewhile(lambda each: each <= tag, self._waiting))
            found = [waiter for each in tags if (waiter := self._pop(each)) is not None]
        else:
            waiter = self._pop(tag)
            found = [] if waiter is None else [waiter]
        if nack:
            confirm_totals.nacked += len(found)
        else:
            confirm_totals.confirmed += len(found)
        return found

    def pop_returned(self, message_id: str | None) -> T | None:
        """Remove and return the waiter for the returned message *message_id*.

        The broker confirms the message right afterwards; that confirm then has no waiter.
        """
        return self._pop(self._tags.get(message_id or "", 0))

    def clear(self) -> list[T]:
        """Remove and return all waiters, because the channel has ended."""
        waiters = list(self._waiting.values())
        for each in (self._waiting, self._tags, self._ids):
            each.clear()
        return waiters

    def _pop(self, tag: int) -> T | None:
        if self._ids:
            self._tags.pop(self._ids.pop(tag, ""), None)
        return self._waiting.pop(tag, None)
