"""Many messages that come again: a reconnect takes a time that grows with their number only."""

from __future__ import annotations

from collections import Counter
from typing import Any

import gevent.event
import pytest

from postage import messaging
from postage.green.runtime import runtime_of
from postage.settings import Settings
from postage.testing.polling import wait_until
from tests.support.endpoints import Endpoint
from tests.support.running import SOON, running

pytestmark = pytest.mark.usefixtures("broker_env")

COUNT = 200


class WaitingHandlers(messaging.MessageProcessor):
    """Its handlers wait until `opened`."""

    prefetch, concurrency, shutdown_timeout = COUNT, 2 * COUNT, SOON

    def __init__(self, *args: Any) -> None:
        self.begun, self.opened = 0, gevent.event.Event()
        super().__init__(*args)

    @messaging.MessageHandler("command", "wait")
    def wait(self, content: Any) -> None:
        """Wait."""
        self.begun += 1
        self.opened.wait()

    @messaging.RpcHandler("command", "greet")
    def greet(self, content: Any, reply: Any) -> None:
        """Answer."""
        reply("hello")


def looks() -> Counter[Any]:
    """Count from now on how often each delivery that is handled is looked at for its copy."""
    in_progress = runtime_of(Settings.resolve()).copies.in_progress
    counts, key_of = Counter[Any](), in_progress._key_of

    def counting(item: Any) -> Any:
        counts[item] += 1
        return key_of(item)

    in_progress._key_of = counting
    return counts


def test_a_reconnect_looks_at_each_running_handler_once(endpoint: Endpoint) -> None:
    processor, producer = WaitingHandlers({"name": "waiting"}, endpoint.eqk), endpoint.producer()
    with running(processor):
        for _ in range(COUNT):
            producer.message_wait()
        wait_until(lambda: processor.begun == COUNT, SOON)
        counts = looks()
        connection = runtime_of(Settings.resolve()).pair.consuming.current
        assert connection is not None
        connection.transport.cut()
        wait_until(lambda: processor.begun == 2 * COUNT, SOON)
        processor.opened.set()

    assert len(counts) >= COUNT
    assert {*counts.values()} == {1}


def test_a_first_call_looks_at_no_running_handler(endpoint: Endpoint) -> None:
    processor, producer = WaitingHandlers({"name": "waiting"}, endpoint.eqk), endpoint.producer()
    with running(processor):
        producer.message_wait()
        wait_until(lambda: processor.begun == 1, SOON)
        counts = looks()
        assert producer.rpc_greet().value == "hello"
        processor.opened.set()

    assert not counts
