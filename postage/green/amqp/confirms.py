"""Which publishes of a channel the broker has confirmed (RabbitMQ, publisher confirms).  Pure."""

from __future__ import annotations

from itertools import takewhile
from typing import Generic, TypeVar

from postage.green.amqp.frames import Confirm

__all__ = ["Confirms"]

T = TypeVar("T")


class Confirms(Generic[T]):
    """Who waits for which publish: the n-th publish of a confirming channel has the tag n."""

    def __init__(self) -> None:
        self._last = 0
        self._waiting: dict[int, T] = {}  # in the order of their tags

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def expected(self) -> int:
        """How many publishes there were: the last tag."""
        return self._last

    def expect(self, waiter: T) -> int:
        """Note that *waiter* publishes now; return the tag of its message."""
        self._last += 1
        self._waiting[self._last] = waiter
        return self._last

    def settle(self, confirm: Confirm) -> list[T]:
        """Return those whose publish *confirm* answers, in order; they wait no more."""
        if not confirm.multiple:
            waiter = self._waiting.pop(confirm.tag, None)
            return [] if waiter is None else [waiter]
        tags = list(takewhile(lambda tag: tag <= confirm.tag, self._waiting))
        return [self._waiting.pop(tag) for tag in tags]

    def abandon(self) -> list[T]:
        """Return all that still wait, and forget them: the channel is gone."""
        waiters = list(self._waiting.values())
        self._waiting.clear()
        return waiters
