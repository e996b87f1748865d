"""What no handler has begun does not count as delivered when a component stops."""

from __future__ import annotations

import json
from typing import Any

import gevent
import pytest

from postage import messaging
from postage.testing.polling import wait_until
from tests.support.endpoints import Endpoint
from tests.support.raw import Raw
from tests.support.running import SOON, running

pytestmark = pytest.mark.usefixtures("broker_env")

MESSAGES = 200


class Slow(messaging.MessageProcessor):
    """Handles one message at a time, and is sent many in advance."""

    concurrency = 1
    prefetch = 100
    shutdown_timeout = SOON

    @messaging.MessageHandler("command", "wait")
    def wait(self, content: Any) -> None:
        gevent.sleep(0.002)


@pytest.fixture
def eqk(endpoint: Endpoint, raw: Raw) -> Any:
    """A quorum queue with many messages."""
    arguments = {"x-queue-type": "quorum"}
    raw.declare(endpoint.queue, arguments=arguments)
    body = json.dumps(messaging.MessageCommand("wait").body).encode()
    for _ in range(MESSAGES):
        raw.put(endpoint.queue, body)
    return endpoint.at(({"name": endpoint.queue, "flags": {"arguments": arguments}}, "rk"))


def counted(raw: Raw, queue: str) -> list[int]:
    """Return how many deliveries the queue has counted of each message that is left."""
    left = [raw.take(queue).properties.headers or {} for _ in range(raw.count(queue))]
    return [int(headers.get("x-delivery-count", 0)) for headers in left]


@pytest.fixture(autouse=True)
def _uncounted(raw: Raw, endpoint: Endpoint) -> None:
    """Skip where the broker counts whatever is returned, as RabbitMQ did before 4.3."""
    queue = raw.declare(endpoint.sub("probe"), arguments={"x-queue-type": "quorum"})
    raw.put(queue, b"")
    method, _, _ = raw.channel.basic_get(queue)
    raw.channel.basic_nack(method.delivery_tag)
    wait_until(lambda: raw.count(queue) == 1, SOON)
    if counted(raw, queue) != [0]:
        pytest.skip("this broker counts a basic.nack as a delivery")


@pytest.mark.parametrize("how", ["stop", "no longer listen"])
def test_a_processor_gives_back_uncounted(endpoint: Endpoint, raw: Raw, eqk: Any, how: str) -> None:
    processor = Slow({"name": "slow"}, eqk)
    for times in range(1, 4):
        with running(processor):
            wait_until(lambda n=times: processor.counts["handled"] >= 3 * n, SOON)
            if how != "stop":
                processor.consumer.cancel(endpoint.queue)
        if how != "stop":
            processor.add_eqk(eqk)

    wait_until(lambda: raw.count(endpoint.queue) + processor.counts["handled"] == MESSAGES, SOON)
    assert set(counted(raw, endpoint.queue)) == {0}


def test_a_classic_consumer_gives_back_uncounted(endpoint: Endpoint, raw: Raw, eqk: Any) -> None:
    consumer, got = messaging.GenericConsumer(eqk), 0
    consumer.prefetch = 100

    def callback(_channel: Any, method: Any, _header: Any, _body: bytes) -> None:
        nonlocal got
        got += 1
        consumer.ack(method)
        gevent.sleep(0.002)
        if got % 5 == 0:
            consumer.stop_consuming()

    for _ in range(3):
        consumer.start_consuming(callback)

    wait_until(lambda: raw.count(endpoint.queue) + got == MESSAGES, SOON)
    assert set(counted(raw, endpoint.queue)) == {0}
