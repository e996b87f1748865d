"""A server for calls that lose their connection, and what they must not leave behind."""

from __future__ import annotations

from typing import Any

import gevent.event

from postage import messaging
from postage.testing.polling import wait_until

GRACE = 0.5
"""What a wait may last beyond its limit."""


class Server(messaging.MessageProcessor):
    """Answers when its gate is open, and knows what it was asked."""

    def __init__(self, *args: Any, **kwds: Any) -> None:
        self.gate = gevent.event.Event()
        self.asked: list[Any] = []
        self.headers: list[Any] = []
        super().__init__(*args, **kwds)

    def _handle(self, delivery: Any) -> None:
        self.headers.append(delivery.properties)
        super()._handle(delivery)

    @messaging.RpcHandler("command", "ask")
    def ask(self, content: Any, reply: Any) -> None:
        self.asked.append(content["parameters"])
        self.gate.wait()
        reply(content["parameters"])


def assert_nothing_is_left(caller: Any) -> None:
    """Nobody waits, and only the shared queue is there, once the broker has said so."""
    pair, calls = caller._pair, caller._calls
    assert len(calls) == 0
    connection = pair.consuming.current
    if connection is None:
        return

    def consumers() -> int:
        return sum(each.consumers for each in connection.figures()["channels"])

    wait_until(lambda: consumers() <= 1, 10.0)
    for channel in connection._channels:
        assert len(channel.on_cancel) <= 1
        assert len(channel.on_end) <= 2
