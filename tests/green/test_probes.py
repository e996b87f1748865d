"""The first calls to a destination: one probes whether ids come back, the others wait."""

from __future__ import annotations

from typing import Any

import gevent
import gevent.event
import pytest

from postage import green, messaging
from postage.green.rpc.peers import RECEIPT
from postage.testing.polling import wait_until
from tests.support.running import SOON, running

pytestmark = pytest.mark.usefixtures("broker_env")

MANY = 60


class Server(messaging.MessageProcessor):
    """Replies to calls when it may."""

    def __init__(self, eqk: Any) -> None:
        self.began: list[Any] = []
        self.may_answer = gevent.event.Event()
        super().__init__(None, eqk)

    @messaging.MessageHandler("command", "keep_busy")
    def keep_busy(self, _content):
        self.began.append("busy")
        self.may_answer.wait(SOON)

    @messaging.RpcHandler("command", "echo")
    def echo(self, content, reply_func):
        self.began.append(content["parameters"])
        self.may_answer.wait(SOON)
        reply_func(content["parameters"])


@pytest.fixture(autouse=True)
def nobody_else() -> None:
    """End the consumers of earlier tests."""
    green.close()


def consumers() -> int:
    """Return how many consumers this process has."""
    return sum(channel.consumers for c in green.statistics() for channel in c.channels)


@pytest.mark.behaviour("rpc-call")
def test_concurrent_first_calls_share_a_reply_queue(endpoint, monkeypatch):
    monkeypatch.setenv("POSTAGE_DISCOVERY", "0")  # the station would have a consumer, too
    server, producer = Server(endpoint.eqk), endpoint.producer()
    with running(server):
        before = consumers()
        calls = [producer.rpc_echo.later(number) for number in range(MANY)]
        wait_until(lambda: len(server.began) == MANY, SOON)
        assert consumers() == before + 2, "the queue of the probe, and that of all other calls"
        server.may_answer.set()

        assert [call.get(timeout=SOON).value for call in calls] == list(range(MANY))
    assert sorted(server.began) == list(range(MANY))


@pytest.mark.behaviour("rpc-call")
def test_without_a_receipt_every_call_has_a_queue_of_its_own(endpoint, raw):
    """Postage 1.2.1 sends no receipts."""
    queue = raw.declare(endpoint.queue)
    producer = endpoint.producer()
    raw.channel.queue_bind(queue, endpoint.exchange.name, endpoint.key)
    calls = [producer.rpc_echo.later(number) for number in range(MANY)]

    requests = [raw.take(queue, SOON) for _ in range(MANY)]

    assert sum(request.properties.type == RECEIPT for request in requests) == 1
    assert len({request.properties.reply_to for request in requests}) == MANY
    gevent.killall(calls)


@pytest.mark.behaviour("rpc-call")
def test_calls_do_not_wait_for_the_receipt_of_a_busy_server(endpoint):
    server, producer = Server(endpoint.eqk), endpoint.producer()
    server.concurrency = 1
    with running(server):
        producer.message_keep_busy()
        wait_until(lambda: server.began, SOON)
        before = consumers()
        calls = [producer.rpc_echo.later(number) for number in range(3)]
        wait_until(lambda: consumers() == before + 4, SOON)  # one of them is shared
        server.may_answer.set()

        assert [call.get(timeout=SOON).value for call in calls] == [0, 1, 2]
