"""Which publishes of a channel the broker has confirmed (RabbitMQ, publisher confirms).  Pure."""

from __future__ import annotations

from itertools import takewhile
from typing import Generic, TypeVar

from postage.green.amqp.frames import Confirm

__all__ = ["Confirms"]

T = TypeVar("T")


class Confirms(Generic[T]):
    """Who waits for which publish: the n-th publish of a confirming channel has the tag n.

    A mandatory message that reaches no queue comes back before it is confirmed.  What comes back
    has no tag, and its order says nothing: those published before it may still be on their way
    into queues.  It does have its message id, though, which is unique, and who published it waits
    here only once at a time.
    """

    def __init__(self) -> None:
        self._last = 0
        self._waiting: dict[int, T] = {}  # in the order of their tags
        self._tags: dict[str, int] = {}  # of the mandatory ones, by their ids
        self._ids: dict[int, str] = {}  # and the other way round

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def expected(self) -> int:
        """How many publishes there were: the last tag."""
        return self._last

    def expect(self, waiter: T, mandatory: str | None = None) -> int:
        """Note that *waiter* publishes now; return the tag of its message.

        *mandatory* is the message's id, where it comes back when it reaches no queue.
        """
        self._last += 1
        self._waiting[self._last] = waiter
        if mandatory is not None:
            self._tags[mandatory], self._ids[self._last] = self._last, mandatory
        return self._last

    def settle(self, confirm: Confirm) -> list[T]:
        """Return those whose publish *confirm* answers, in order; they wait no more."""
        if not confirm.multiple:
            waiter = self._take(confirm.tag)
            return [] if waiter is None else [waiter]
        tags = list(takewhile(lambda tag: tag <= confirm.tag, self._waiting))
        return [waiter for tag in tags if (waiter := self._take(tag)) is not None]

    def come_back(self, message_id: str | None) -> T | None:
        """Return who waits for the mandatory message *message_id*; they wait no more.

        The broker confirms it all the same, right afterwards; that settles nobody then.
        """
        return self._take(self._tags.get(message_id or "", 0))

    def abandon(self) -> list[T]:
        """Return all that still wait, and forget them: the channel is gone."""
        waiters = list(self._waiting.values())
        for each in (self._waiting, self._tags, self._ids):
            each.clear()
        return waiters

    def _take(self, tag: int) -> T | None:
        if self._ids:
            self._tags.pop(self._ids.pop(tag, ""), None)
        return self._waiting.pop(tag, None)
