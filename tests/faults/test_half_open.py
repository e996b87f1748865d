"""A half-open connection with the default heartbeat: everything works again within 15 s.

The other end is gone, and no packet says so.  Heartbeats alone would need two minutes.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import gevent
import pytest

from postage import green, messaging
from postage.green.runtime import open_connections
from postage.testing.polling import wait_until
from tests.faults.catalogue import ONE_SOON
from tests.faults.fault_env import HEARTBEAT, FaultEnv
from tests.support.endpoints import Endpoint
from tests.support.raw import listen, take
from tests.support.running import running
from tests.support.stopwatch import Stopwatch
from tests.support.waiting import assert_stays

pytestmark = [
    pytest.mark.limit(90),
    pytest.mark.parametrize("kind", ONE_SOON),
    pytest.mark.usefixtures("patient"),
]

LIMIT = 15.0
"""Seconds within which everything must work again."""


@pytest.fixture
def patient(env: FaultEnv, monkeypatch: pytest.MonkeyPatch) -> None:
    """The default heartbeat."""
    monkeypatch.setenv("POSTAGE_URL", env.url.replace(f"?heartbeat={HEARTBEAT}", ""))


@pytest.fixture
def endpoint(request: pytest.FixtureRequest) -> Endpoint:
    return Endpoint(re.sub(r"\W+", "-", request.node.name))


def seconds_until(condition: Callable[[], object]) -> float:
    """Return after how many seconds *condition* holds."""
    watch = Stopwatch()
    wait_until(condition, 2 * LIMIT)
    return watch.own


def test_a_publish_that_waits_is_confirmed(env: FaultEnv, endpoint: Endpoint) -> None:
    with env.raw() as raw:
        queue = listen(raw, endpoint.exchange, "rk")
        producer = endpoint.producer()
        producer.message_before()
        assert env.proxy.half_open() == 1
        watch = Stopwatch()
        producer.message_after()
        assert watch.own < LIMIT
        assert [take(raw, queue)["name"] for _ in range(2)] == ["before", "after"]


def test_messages_without_confirms_arrive_again(env: FaultEnv, endpoint: Endpoint) -> None:
    with env.raw() as raw:
        queue = listen(raw, endpoint.exchange, "rk")
        producer = endpoint.producer(confirm=False)
        producer.message_before()
        assert take(raw, queue)["name"] == "before"
        assert env.proxy.half_open() == 1

        def arrives() -> bool:
            producer.message_after()
            gevent.sleep(0.5)
            return raw.channel.basic_get(queue, auto_ack=True)[0] is not None

        assert seconds_until(arrives) < LIMIT


class Server(messaging.MessageProcessor):
    @messaging.RpcHandler("command", "ping")
    def ping(self, content: Any, reply: Any) -> None:
        reply("pong")


def test_a_server_and_its_callers_go_on(env: FaultEnv, endpoint: Endpoint) -> None:
    with running(Server(eqk=endpoint.eqk)):
        producer = endpoint.producer()
        assert producer.rpc_ping().value == "pong"
        assert env.proxy.half_open() == 2

        def is_answered() -> bool:
            return bool(producer.rpc_ping(_timeout=1, _max_retry=0))

        # The loss of one connection makes the other one a suspect.
        assert seconds_until(is_answered) < LIMIT + 5


def test_a_quiet_connection_is_left_alone(env: FaultEnv, endpoint: Endpoint) -> None:
    endpoint.producer(confirm=False).message_before()
    gevent.sleep(0.5)
    before = open_connections()
    assert_stays(lambda: open_connections() == before, LIMIT)
    assert env.proxy.accepted == 1


def test_a_large_message_on_a_slow_network_is_sent(env: FaultEnv, endpoint: Endpoint) -> None:
    producer = endpoint.producer(publish_timeout=60)
    producer.message_before()
    env.proxy.slow(rate=200_000)
    producer.message_large("x" * 2_600_000)
    assert [each.losses for each in green.statistics()] == [0, 0]
