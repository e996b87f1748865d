"""A publishing connection that the broker does not read is left for another one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gevent
import pytest

from postage import green
from postage.broker import BrokerThread
from postage.testing.polling import wait_until
from tests.support.attempts import outcomes
from tests.support.endpoints import Endpoint
from tests.support.proxy import Proxy
from tests.support.recovery import GatedServer, pair_of
from tests.support.running import SOON, running
from tests.support.stopwatch import Stopwatch
from tests.support.waiting import assert_stays

pytestmark = pytest.mark.usefixtures("broker_env")

HELD_UP = 2.0
"""Seconds that a reply may be held up on a busy machine; it is one second elsewhere."""


@pytest.fixture
def broker() -> Iterator[BrokerThread]:
    with BrokerThread() as started:
        yield started
        green.close(1.0)


def hup_of(broker: BrokerThread, host: str) -> dict[str, Any]:
    return {"host": host, "port": broker.port, "user": "guest", "password": "guest"}


@pytest.fixture
def server(endpoint: Endpoint, broker: BrokerThread) -> Iterator[GatedServer]:
    made = GatedServer({"name": "server"}, endpoint.eqk, hup_of(broker, "127.0.0.1"), "/")
    made.gate.set()
    with running(made):
        yield made


def caller_at(endpoint: Endpoint, broker: BrokerThread) -> Any:
    """Return a producer with connections of its own."""
    hup = hup_of(broker, "localhost")
    return endpoint.producer(hup=hup, vhost="/", rpc_timeout=SOON)


def silence(component: Any, broker: BrokerThread) -> Any:
    """Let the broker read nothing more from present publishers, that of *component* included."""
    publishing = pair_of(component).publishing.get()
    publishing.calling.get()
    broker.faults.silence("publishing")
    return publishing


def test_replies_are_held_up_for_a_second_at_most(
    endpoint: Endpoint, broker: BrokerThread, server: GatedServer
) -> None:
    left = silence(server.consumer, broker)
    caller = caller_at(endpoint, broker)
    for n in range(5):
        watch = Stopwatch()
        assert caller.rpc_ask(n).value == n
        assert watch.own < HELD_UP

    pair = pair_of(server.consumer)
    assert pair.publishing.current is not left
    assert pair.publishing.losses == 0
    assert set(server.asked) == set(range(5))
    assert len(server.asked) == 5


def test_many_replies_are_sent_again(
    endpoint: Endpoint, broker: BrokerThread, server: GatedServer
) -> None:
    silence(server.consumer, broker)
    caller = caller_at(endpoint, broker)
    watch = Stopwatch()
    runs = [gevent.spawn(caller.rpc_ask, n) for n in range(100)]

    assert [each.value for each in outcomes(runs, SOON)] == list(range(100))
    assert watch.own < HELD_UP
    assert sorted(server.asked) == list(range(100))


def test_a_caller_leaves_as_well(
    endpoint: Endpoint, broker: BrokerThread, server: GatedServer
) -> None:
    caller = caller_at(endpoint, broker)
    assert caller.rpc_ask("warm").value == "warm"
    left = silence(caller, broker)
    unread = gevent.spawn(caller.rpc_ask, "unread", _timeout=2.5, _max_retry=1)
    wait_until(lambda: pair_of(caller).publishing.current is not left, SOON)
    watch = Stopwatch()

    assert caller.rpc_ask("next").value == "next"
    caller.message_note("confirmed")
    assert watch.own < HELD_UP
    assert unread.get(timeout=SOON).value == "unread"
    assert server.asked.count("unread") == 1


def test_a_call_that_is_being_prepared_leaves_as_well(
    endpoint: Endpoint,
    broker: BrokerThread,
    server: GatedServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    caller = caller_at(endpoint, broker)
    pair = pair_of(caller)
    left = pair.publishing.get()
    other, get = pair._detours._make((left.host, left.port)), left.calling.get

    def get_while_others_leave() -> Any:
        channel = get()
        if pair.publishing.supersede(left, other):
            pair._on_leave([])
        return channel

    for n in range(2):  # from then on calls share a reply queue
        assert caller.rpc_ask(n).value == n
    pair._on_leave([])  # the next call prepares its way
    monkeypatch.setattr(left.calling, "get", get_while_others_leave)
    assert caller.rpc_ask(2).value == 2
    server.gate.clear()
    call = gevent.spawn(caller.rpc_ask, 3)
    wait_until(lambda: 3 in server.asked, SOON)
    left.close(1.0)
    server.gate.set()

    assert call.get(timeout=SOON).value == 3
    assert server.asked == [0, 1, 2, 3]


def test_a_connection_that_was_left_is_given_up_in_the_end(
    endpoint: Endpoint, hup: Any, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("postage.green.amqp.silence.PATIENCE", 2)
    monkeypatch.setattr("postage.green.amqp.transport.LOOK_INTERVAL", 0.25)
    server = GatedServer({"name": "server"}, endpoint.eqk, hup)
    server.gate.set()
    caller = endpoint.producer(rpc_timeout=SOON)
    with running(server):
        assert caller.rpc_ask(0).value == 0
        left = pair_of(server.consumer).publishing.get()
        proxy.half_open()
        call = gevent.spawn(caller.rpc_ask, 1)
        wait_until(lambda: not left.alive, 30, "it is given up")
        call.kill()
    wait_until(lambda: not pair_of(server.consumer)._detours.left, SOON)


def test_a_slow_network_is_no_reason_to_leave(endpoint: Endpoint, hup: Any, proxy: Proxy) -> None:
    server = GatedServer({"name": "server"}, endpoint.eqk, hup)
    server.gate.set()
    caller = endpoint.producer(rpc_timeout=SOON)
    with running(server):
        assert caller.rpc_ask(0).value == 0
        publishing = pair_of(server.consumer).publishing.get()
        proxy.slow(delay=0.7)
        for n in range(2):
            assert caller.rpc_ask(n).value == n
        assert_stays(lambda: pair_of(server.consumer).publishing.current is publishing, 2.0)
        proxy.slow()
        assert pair_of(server.consumer).publishing.losses == 0


def test_an_alarm_is_no_reason_to_leave(
    endpoint: Endpoint, broker: BrokerThread, server: GatedServer
) -> None:
    caller = caller_at(endpoint, broker)
    assert caller.rpc_ask("warm").value == "warm"
    publishing = pair_of(caller).publishing.get()
    call = gevent.spawn(caller.rpc_ask, 1)
    broker.faults.block()
    assert_stays(lambda: pair_of(caller).publishing.current is publishing, 2.0)
    broker.faults.unblock()

    assert call.get(timeout=SOON).value == 1
