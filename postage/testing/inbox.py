"""Collecting the messages that a component sends, for a test to look at."""

from __future__ import annotations

import contextlib
import itertools
import os
from typing import Any

import gevent

from postage.exchange import Exchange
from postage.foreign_text import brief
from postage.green import GenericConsumer
from postage.testing.polling import wait_until

TIMEOUT = 5.0
"""Seconds for an inbox to start and to stop."""

_numbers = itertools.count(1)


class Inbox:
    """The messages that have arrived in a queue of the test's own."""

    def __init__(self, exchange: type[Exchange], keys: tuple[str, ...]) -> None:
        self.bodies: list[Any] = []
        """The decoded bodies, in the order of their arrival."""
        queue = f"inbox-{os.getpid()}-{next(_numbers)}"
        spec = {"name": queue, "flags": {"exclusive": True}}
        self._consumer = GenericConsumer([(exchange, [(spec, key) for key in keys])])
        self._run = gevent.spawn(self._consumer.start_consuming, self._take)
        wait_until(lambda: self._run.dead or self._consumer.consuming, TIMEOUT)

    def _take(self, _channel: Any, method: Any, _header: Any, body: bytes) -> None:
        self.bodies.append(self._consumer.decode(body))
        self._consumer.ack(method)

    def wait(self, count: int = 1, within: float = 5.0) -> list[Any]:
        """Wait for *count* messages and return their bodies; other greenlets run meanwhile.

        Raises AssertionError if there are fewer after *within* seconds, or more.
        """
        try:
            wait_until(lambda: len(self.bodies) >= count, within)
        except AssertionError:
            raise AssertionError(f"{self!r}: not {count} after {within} s") from None
        if len(self.bodies) > count:
            raise AssertionError(f"{self!r}: more than {count}")
        return self.bodies

    def __repr__(self) -> str:
        return f"<Inbox with {brief(self.bodies)}>"

    def close(self) -> None:
        """Stop collecting; raises the error that has ended the consumer, if any."""
        self._consumer.stop_consuming()
        self._run.join(TIMEOUT)
        self._run.kill()
        self._run.get(block=False)


class Receive(contextlib.ExitStack):
    """The fixture ``received``: ``received(Exchange, "key", ...)`` returns an `Inbox`."""

    def __call__(self, exchange: type[Exchange], *keys: str) -> Inbox:
        """Bind a new queue to *exchange* by *keys*, or by the empty key, and collect its messages.

        Messages that were sent before are not collected.
        """
        return self.enter_context(contextlib.closing(Inbox(exchange, keys or ("",))))
