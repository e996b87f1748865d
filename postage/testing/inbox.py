"""Receiving what a component sends, in a test."""

from __future__ import annotations

import itertools
import os
from typing import Any

import gevent

from postage.exchange import Exchange
from postage.green import GenericConsumer
from postage.testing.polling import wait_until

__all__ = ["Inbox", "Receive"]

PATIENCE = 5.0
"""Seconds for an inbox to begin and to end."""

_numbers = itertools.count(1)


class Inbox:
    """A queue of the test's own, and what has come into it."""

    def __init__(self, exchange: type[Exchange], keys: tuple[str, ...]) -> None:
        self.bodies: list[Any] = []
        """The decoded bodies, in the order in which they came."""
        queue = f"inbox-{os.getpid()}-{next(_numbers)}"
        where = {"name": queue, "flags": {"exclusive": True}}
        self._consumer = GenericConsumer([(exchange, [(where, key) for key in keys])])
        self._run = gevent.spawn(self._consumer.start_consuming, self._take)
        wait_until(lambda: self._run.dead or self._consumer.consuming, PATIENCE)

    def _take(self, _channel: Any, method: Any, _header: Any, body: bytes) -> None:
        self.bodies.append(self._consumer.decode(body))
        self._consumer.ack(method)

    def wait(self, count: int = 1, within: float = 5.0) -> list[Any]:
        """Return the bodies when there are *count* of them; switches to the hub.

        Raises AssertionError after *within* seconds, and when there are more.
        """
        try:
            wait_until(lambda: len(self.bodies) >= count, within)
        except AssertionError:
            raise AssertionError(f"{self!r}: not {count} after {within} s") from None
        if len(self.bodies) > count:
            raise AssertionError(f"{self!r}: more than {count}")
        return self.bodies

    def __repr__(self) -> str:
        return f"<Inbox with {self.bodies!r}>"

    def close(self) -> None:
        """Listen no more; raises what had gone wrong."""
        self._consumer.stop_consuming()
        self._run.join(PATIENCE)
        self._run.kill()
        self._run.get(block=False)


class Receive:
    """``received(Exchange, "key", ...)`` returns an `Inbox` for what is sent there from now on."""

    def __init__(self) -> None:
        self._inboxes: list[Inbox] = []

    def __enter__(self) -> Receive:  # noqa: PYI034 - Self needs Python 3.11
        return self

    def __exit__(self, *_: object) -> None:
        for inbox in self._inboxes:
            inbox.close()

    def __call__(self, exchange: type[Exchange], *keys: str) -> Inbox:
        """Bind a new queue to *exchange* by *keys*, or by the empty key, and collect what comes."""
        inbox = Inbox(exchange, keys or ("",))
        self._inboxes.append(inbox)
        return inbox
