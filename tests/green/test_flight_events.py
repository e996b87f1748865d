"""What the runtime tells the flight recorder."""

from __future__ import annotations

import socket
from typing import Any

import gevent
import pytest

from postage import green, messaging
from postage.dispatch import SLOW
from postage.errors import PostageError
from postage.flight_recorder import EventKind, flight_recorder
from postage.green import runtime
from postage.testing.polling import wait_until
from tests.support.endpoints import Endpoint

SOON = 10.0


@pytest.fixture(autouse=True)
def _empty() -> None:
    flight_recorder.clear()


def texts(kind: EventKind) -> list[str]:
    return [each.text for each in flight_recorder.entries() if each.kind is kind]


class Waits(messaging.MessageProcessor):
    @messaging.RpcHandler("command", "wait")
    def waiting(self, content: Any, reply: Any) -> Any:
        gevent.sleep(content["parameters"])
        return "done"


def test_a_slow_handler_is_noted(endpoint: Endpoint, run_processor: Any) -> None:
    run_processor(Waits({"name": "sleeper"}, endpoint.eqk))
    producer = endpoint.producer()
    assert producer.rpc_wait(0).value == "done"
    assert producer.rpc_wait(SLOW * 1.1).value == "done"

    wait_until(lambda: texts(EventKind.SLOW), SOON)
    (entry,) = [each for each in flight_recorder.entries() if each.kind is EventKind.SLOW]
    assert entry.text == "handler Waits.waiting of 'sleeper'"
    assert entry.seconds >= SLOW


def test_a_refusal_is_noted(endpoint: Endpoint) -> None:
    with pytest.raises(PostageError):
        endpoint.producer(eks=[(missing(endpoint), "rk")]).message_x()
    wait_until(lambda: any("NOT_FOUND" in each for each in texts(EventKind.REFUSAL)), SOON)


def missing(endpoint: Endpoint) -> Any:
    return type("Missing", (messaging.Exchange,), {"name": endpoint.sub("no"), "passive": True})


def test_a_lost_connection_and_the_next_are_noted(endpoint: Endpoint) -> None:
    producer = endpoint.producer()
    producer.message_x(_eks=[(endpoint.exchange, "nobody")])
    for each in runtime.open_connections():
        each.transport._stream._sock._sock.shutdown(socket.SHUT_RDWR)
    wait_until(lambda: any("is lost" in each for each in texts(EventKind.CONNECTION)), SOON)
    producer.message_x(_eks=[(endpoint.exchange, "nobody")])
    wait_until(lambda: any("re-established" in each for each in texts(EventKind.CONNECTION)), SOON)
    green.close(1.0)
