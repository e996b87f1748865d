"""Calls while the broker is down or blocked: none is lost, and none waits for ever."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import gevent.event
import pytest

from postage import green
from postage.testing.polling import wait_until
from postage.testing.rabbitmq import RabbitMQNode
from tests.faults.catalogue import empty_broker
from tests.faults.fault_env import FaultEnv, on_embedded
from tests.support.attempts import spawned
from tests.support.broker_commands import in_node_thread
from tests.support.endpoints import Endpoint
from tests.support.recovery import GRACE, GatedServer, assert_nothing_is_left, pair_of
from tests.support.running import SOON, running
from tests.support.stopwatch import Stopwatch
from tests.support.waiting import assert_stays

pytestmark = pytest.mark.usefixtures("broker_env")


# --- a broker that restarts


def during_a_pause(
    caller: Any, pause: Callable[[], object], callers: int = 20
) -> tuple[int, list[Any]]:
    """Make calls with *callers* while the broker is down; return their number, and errors."""
    over, numbers, wrong = gevent.event.Event(), itertools.count(), []

    def go_on() -> None:
        while not over.is_set():
            number = next(numbers)
            result = caller.rpc_ask(number, _timeout=5.0, _max_retry=4)
            if result.value != number:
                wrong.append(result)

    runs = [gevent.spawn(go_on) for _ in range(callers)]
    wait_until(lambda: next(numbers) > 2 * callers, SOON, "calling")
    pause()
    before = next(numbers)
    wait_until(lambda: next(numbers) > before + 10 * callers, 25, "calling again")
    over.set()
    gevent.joinall(runs, timeout=30, raise_error=True)
    return next(numbers), wrong


def test_an_embedded_broker_that_is_away_for_two_seconds(endpoint: Endpoint) -> None:
    with on_embedded() as env:
        server = GatedServer({"name": "server"}, endpoint.eqk)
        server.gate.set()
        caller = endpoint.producer()

        def pause() -> None:
            empty_broker(env, seconds=2.0)

        with running(server):
            calls, wrong = during_a_pause(caller, pause)
        assert calls > 200
        assert no_route_at_most(wrong)
        assert_nothing_is_left(caller)


def no_route_at_most(wrong: list[Any]) -> bool:
    """Return whether the only failures were calls before the server's queue was redeclared."""
    return {each.value for each in wrong} <= {"NoRoute"}


@pytest.fixture
def node() -> Iterator[RabbitMQNode]:
    """A node of the test's own."""
    with RabbitMQNode() as started:
        yield started


@pytest.mark.limit(120)
def test_a_rabbitmq_node_that_dies_and_comes_back(
    rabbitmq: Any, node: RabbitMQNode, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, setting in {"HOST": node.host, "PORT": str(node.port), "VHOST": "/"}.items():
        monkeypatch.setenv(f"POSTAGE_{name}", setting)
    server = GatedServer({"name": "server"}, endpoint.eqk)
    server.gate.set()
    caller = endpoint.producer()

    def pause() -> None:
        in_node_thread(node.kill)
        in_node_thread(node.start)

    with running(server):
        calls, wrong = during_a_pause(caller, pause)
    assert calls > 200
    assert no_route_at_most(wrong)
    assert_nothing_is_left(caller)
    green.close()


# --- a broker that blocks publishes


def test_an_alarm_is_waited_out_and_costs_no_try(endpoint: Endpoint) -> None:
    with on_embedded() as env:
        server, caller = blocked(endpoint, env)
        with running(server):
            call = gevent.spawn(caller.rpc_ask, 1, _timeout=0.4, _max_retry=20)
            assert_stays(lambda: not call.dead, 1.0)
            env.broker.faults.unblock()
            assert call.get(timeout=SOON).value == 1
            assert server.asked == [1]


def test_an_alarm_that_lasts_costs_the_time_of_the_call(endpoint: Endpoint) -> None:
    with on_embedded() as env:
        _, caller = blocked(endpoint, env)
        watch, busy = Stopwatch(), time.thread_time()
        result = caller.rpc_ask(1, _timeout=0.3, _max_retry=1)

        assert watch.seconds >= 0.6
        assert watch.own < 0.6 + GRACE
        assert time.thread_time() - busy < 0.2
        assert result.value == "TimeoutError"
        assert "low on memory" in result.message
        env.broker.faults.unblock()


def blocked(endpoint: Endpoint, env: FaultEnv) -> tuple[GatedServer, Any]:
    """Return a server, and a caller that knows of the alarm."""
    server = GatedServer({"name": "server"}, endpoint.eqk)
    server.gate.set()
    caller = endpoint.producer()
    caller.rpc_ask("opens the channel", _timeout=0)
    env.broker.faults.block()
    spawned(caller.message_hello)  # a broker reports an alarm to connections that publish
    wait_until(lambda: pair_of(caller).publishing.current.transport.blocked, SOON)
    return server, caller
