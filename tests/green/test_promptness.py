"""What is written is on the wire within 20 ms beside a greenlet that computes.

On a machine that does nothing else, this holds for 200 of 200 writes.  On a busy one, a few of them
wait for reasons that a thread cannot see.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import gevent
import pytest

from postage import green, messaging
from postage.green.amqp.properties import Properties
from postage.green.runtime import open_connections
from postage.settings import Settings
from postage.testing.polling import wait_until
from postage.testing.rabbitmq import RabbitMQNode
from tests.support.certificates import Certificates
from tests.support.endpoints import Endpoint
from tests.support.running import SOON

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("broker_env")]

TIMES = 200
PROMPT = 0.02
FEW = 2
HELD = 2.0
"""Seconds for which a greenlet computes after each write, at most: until the data is sent."""


@pytest.fixture
def plain(broker_env: Any) -> Settings:
    """Settings for the broker of the module."""
    return Settings(**broker_env.hup, vhost=broker_env.vhost)


@pytest.fixture
def tls(rabbitmq: RabbitMQNode, certificates: Certificates) -> Iterator[Settings]:
    """Settings for a node that speaks TLS."""
    where = {"host": "localhost", "port": rabbitmq.tls_port, "tls": True}
    yield Settings(**where, cacertfile=str(certificates.ca))
    green.close(1.0)


both = pytest.mark.parametrize(
    "wire", ["plain", pytest.param("tls", marks=pytest.mark.needs_rabbitmq("TLS"))]
)


def waited(thread: int) -> float:
    """Return the seconds for which *thread* was ready to run but had no processor (Linux)."""
    try:
        return int(Path(f"/proc/self/task/{thread}/schedstat").read_text().split()[1]) / 1e9
    except OSError:  # another system, or a thread that has ended
        return 0.0


class Wire:
    """Measures when the data of a connection is passed to its socket."""

    def __init__(self, role: str) -> None:
        # The last one: the module's broker may have one, too.
        transport: Any = [each for each in open_connections() if each.role == role][-1].transport
        self._send, transport._send_some = transport._send_some, self._spy
        self._hub = threading.get_native_id()
        self._before: dict[int, float] = {}
        self._began, self._taken = 0.0, -1.0

    def _spy(self, data: memoryview) -> int:
        if not self._taken:  # the first write since `seconds` began
            now = time.monotonic()  # first: reading a file gives up the interpreter's lock
            threads = {self._hub, threading.get_native_id()}
            machine = sum(waited(each) - self._before.get(each, 0.0) for each in threads)
            self._taken = now - self._began - machine
        sent: int = self._send(data)
        return sent

    def seconds(self, write: Callable[[], object]) -> float:
        """Call *write*, and compute; return how long the data took, without the machine's share."""
        threads = [int(each.name) for each in Path("/proc/self/task").iterdir()]
        self._before = {each: waited(each) for each in threads}
        self._began, self._taken = time.monotonic(), 0.0
        write()
        end = time.monotonic() + HELD
        while not self._taken and time.monotonic() < end:
            pass
        return self._taken or HELD


def check(role: str, writes: Sequence[Callable[[], object]], rounds: int = 3) -> None:
    """Assert that the data of *writes* is on the wire promptly, in one of *rounds* at least.

    What is slow in Postage is slow in each round; what other programs take is not.
    """
    wire = Wire(role)
    for _ in range(rounds):
        times = []
        for number, write in enumerate(writes):
            times.append(wire.seconds(write))
            gevent.sleep(0.001 * (number % 5))  # without any, the hub does not turn in between
        assert len(times) == TIMES
        late = [each for each in times if each > PROMPT]
        if len(late) <= FEW:
            break
    assert len(late) <= FEW, late
    assert not late or max(late) < 10 * PROMPT


@pytest.fixture
def where(wire: str, request: pytest.FixtureRequest) -> Settings:
    """The settings for the broker that speaks TLS, or not."""
    settings: Settings = request.getfixturevalue(wire)
    return settings


@pytest.fixture
def producer(where: Settings, endpoint: Endpoint) -> messaging.GenericProducer:
    """A producer that does not wait for confirms, of messages that nobody consumes."""
    messaging.GenericConsumer(endpoint.eqk, settings=where)
    attributes = {"eks": endpoint.eks, "confirm": False}
    made = type("Producer", (messaging.GenericProducer,), attributes)
    producer: messaging.GenericProducer = made(settings=where)
    producer.message_first()
    return producer


@both
def test_messages_without_confirm(producer: messaging.GenericProducer) -> None:
    check("publishing", [producer.message_x] * TIMES)


@both
def test_requests_whose_replies_are_read_later(producer: messaging.GenericProducer) -> None:
    producer.rpc_x(_queue_only=True)
    check("publishing", [partial(producer.rpc_x, _queue_only=True)] * TIMES)


@both
def test_early_replies(where: Settings, endpoint: Endpoint) -> None:
    consumer = messaging.GenericConsumer(endpoint.eqk, settings=where)
    header = Properties(reply_to="nobody", correlation_id="1")
    consumer.rpc_reply(header, "first")
    writes = [lambda: consumer.rpc_reply(header, "accepted")] * TIMES
    check("publishing", writes)


@both
@pytest.mark.parametrize("settle", ["ack", "reject"])
def test_acks_and_rejects(
    producer: messaging.GenericProducer, where: Settings, endpoint: Endpoint, settle: str
) -> None:
    consumer = messaging.GenericConsumer(endpoint.eqk, settings=where)
    consumer.prefetch = TIMES
    got: list[Any] = []
    consumer.start(got.append)
    for _ in range(TIMES - 1):  # the first one was sent before
        producer.message_x()
    wait_until(lambda: len(got) == TIMES, SOON)
    flags = {} if settle == "ack" else {"requeue": False}
    writes = [partial(getattr(delivery, settle), **flags) for delivery in got]
    check("consuming", writes, rounds=1)  # a delivery is acknowledged once
    consumer.stop()
