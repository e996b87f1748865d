"""What is written without a wait leaves although the hub does not turn afterwards.

Plain pika blocks the native thread, so nothing in these tests lets the hub turn while they wait.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import gevent
import pytest

from postage import messaging
from postage.green.amqp.hub_monitor import hub_monitor
from postage.green.runtime import open_connections
from postage.testing.polling import wait_until
from tests.support.endpoints import Endpoint
from tests.support.raw import Raw, Taken
from tests.support.running import SOON, running
from tests.support.waiting import assert_stays

pytestmark = pytest.mark.usefixtures("broker_env")

LONG = 5.0
"""Seconds for which the hub is held at most."""


def compute(seconds: float) -> None:
    """Compute in pure Python, so that no other greenlet runs."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


def block(seconds: float) -> None:
    """Wait in a way that lets no other greenlet run."""
    threading.Event().wait(seconds)


held = pytest.mark.parametrize("hold", [compute, block])
Hold = Callable[[float], None]


def held_until(check: Callable[[], Any], hold: Hold) -> Any:
    """Hold the hub until *check* returns something true; return that, or None after `LONG`."""
    end = time.monotonic() + LONG
    while time.monotonic() < end:
        hold(0.01)
        if found := check():
            return found
    return None


def taken(raw: Raw, queue: str) -> Callable[[], Taken | None]:
    """Return a function that takes one message off *queue*, if there is one; it never switches."""

    def take() -> Taken | None:
        method, properties, body = raw.channel.basic_get(queue, auto_ack=True)
        return None if method is None else Taken(method, properties, body)

    return take


@pytest.fixture
def producer(endpoint: Endpoint) -> messaging.GenericProducer:
    """A producer that does not wait for confirms, of messages that nobody consumes."""
    messaging.GenericConsumer(endpoint.eqk)
    producer = endpoint.producer(confirm=False)
    producer.message_first()
    producer.rpc_first(_queue_only=True)
    gevent.sleep(0.01)
    return producer


@pytest.fixture
def is_empty(endpoint: Endpoint, producer: Any, raw: Raw) -> None:
    """Take the messages of the set-up off the queue."""
    raw.take(endpoint.queue)
    raw.take(endpoint.queue)


@held
@pytest.mark.parametrize("pause", [0.0, 0.001, 1.0], ids=["busy", "turning", "idle"])
@pytest.mark.usefixtures("is_empty")
def test_messages_without_confirm(
    endpoint: Endpoint, producer: Any, raw: Raw, hold: Hold, pause: float
) -> None:
    for number in range(3):
        if pause:  # else the hub does not turn in between, either
            gevent.sleep(pause)
        producer.message_x(number)
        message = held_until(taken(raw, endpoint.queue), hold)
        assert message is not None
        assert message.value["content"]["parameters"] == number


@held
@pytest.mark.usefixtures("is_empty")
def test_requests_whose_replies_are_read_later(
    endpoint: Endpoint, producer: Any, raw: Raw, hold: Hold
) -> None:
    producer.rpc_x(_queue_only=True)
    assert held_until(taken(raw, endpoint.queue), hold)


@held
@pytest.mark.usefixtures("is_empty")
def test_a_message_larger_than_the_buffers_of_the_socket(
    endpoint: Endpoint, producer: Any, raw: Raw, hold: Hold
) -> None:
    producer.message_x("x" * 4_000_000)
    assert held_until(taken(raw, endpoint.queue), hold)


class Early(messaging.MessageProcessor):
    """Holds the hub after it has replied, or after its first message."""

    concurrency = 2

    def __init__(self, eqk: Any, hold: Callable[[], Any]) -> None:
        self.hold, self.found = hold, []
        super().__init__(None, eqk)

    @messaging.RpcHandler("command", "work")
    def work(self, content: Any, reply: Any) -> None:
        reply("accepted")
        self.found.append(self.hold())

    @messaging.MessageHandler("command", "quick")
    def quick(self, content: Any) -> None:
        """Return at once, so that the message is acknowledged."""

    @messaging.MessageHandler("command", "slow")
    def slow(self, content: Any) -> None:
        self.found.append(self.hold())


@held
def test_an_early_reply(endpoint: Endpoint, raw: Raw, hold: Hold) -> None:
    queue = raw.declare(endpoint.sub("replies"))
    processor = Early(endpoint.eqk, lambda: held_until(taken(raw, queue), hold))
    body = b"""{"type": "command", "name": "work", "category": "rpc", "content": {}}"""
    with running(processor):
        for number in range(2):
            raw.put(endpoint.queue, body, reply_to=queue, correlation_id=str(number))
            wait_until(lambda expected=number + 1: len(processor.found) >= expected, SOON)
    assert [each.properties.correlation_id for each in processor.found] == ["0", "1"]


def cut_after(hold: Hold) -> Callable[[], bool]:
    """Return a function that holds the hub, and then breaks the connection that consumes, once."""
    cuts = []

    def run() -> bool:
        if cuts:
            return False
        hold(0.3)
        cuts.extend(each for each in open_connections() if each.role == "consuming")
        for connection in cuts:
            connection.transport.cut()
        return True

    return run


@held
def test_an_ack_before_a_handler_that_holds_the_hub(
    endpoint: Endpoint, raw: Raw, hold: Hold
) -> None:
    processor = Early(endpoint.eqk, cut_after(hold))
    producer = endpoint.producer()
    for name in ("quick", "slow"):  # before it runs, so that both arrive in one turn of the hub
        producer.send(name)
    with running(processor):
        wait_until(lambda: processor.counts["handled"] >= 3, SOON)
    # Only the second message had no ack when the connection broke.
    assert len(processor.found) == 2
    assert processor.counts["handled"] == 3
    assert_stays(lambda: raw.count(endpoint.queue) == 0, 0.1)


@held
@pytest.mark.parametrize("settle", ["ack", "reject"])
def test_a_callback_that_settles_first(
    endpoint: Endpoint, raw: Raw, hold: Hold, settle: str
) -> None:
    consumer = messaging.GenericConsumer(endpoint.eqk)
    endpoint.producer().message_x()
    got: list[Any] = []

    def take(_channel: Any, method: Any, *_rest: Any) -> None:
        got.append(method)
        consumer.ack(method) if settle == "ack" else consumer.reject(method, requeue=False)
        cut_after(hold)()
        consumer.stop_consuming()

    with gevent.Timeout(SOON):
        consumer.start_consuming(take)
    assert len(got) == 1
    assert_stays(lambda: raw.count(endpoint.queue) == 0, 0.1)


@held
def test_a_cancel(endpoint: Endpoint, raw: Raw, hold: Hold) -> None:
    consumer = messaging.GenericConsumer(endpoint.eqk)
    consumer.start(lambda _delivery: None)
    wait_until(lambda: consumer.consuming, SOON)
    consumer.cancel_consumers()

    def is_cancelled() -> bool:
        return raw.channel.queue_declare(endpoint.queue, passive=True).method.consumer_count == 0

    assert held_until(is_cancelled, hold)
    consumer.stop()


def test_an_idle_process_is_not_woken(producer: Any) -> None:
    producer.message_x()
    channels = [each for connection in open_connections() for each in connection._channels]
    wait_until(lambda: not any(each._record.entries for each in channels), SOON, "barriers")
    wait_until(lambda: hub_monitor.asleep, SOON)
    assert_stays(lambda: hub_monitor.asleep, 0.3)
