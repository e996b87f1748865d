"""Replies that cannot be written: they wait as long as their callers, and not for a stop."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gevent
import pytest

from postage import messaging
from postage.broker import BrokerThread
from postage.green.rpc.replying import MARKS
from postage.testing.polling import wait_until
from tests.support.attempts import outcomes
from tests.support.endpoints import Endpoint
from tests.support.proxy import Proxy
from tests.support.recovery import GRACE, GatedServer, pair_of
from tests.support.running import SOON, running
from tests.support.stopwatch import Stopwatch
from tests.support.waiting import assert_stays

pytestmark = pytest.mark.usefixtures("broker_env")

AGES = 300.0


class Replying(GatedServer):
    """Knows which of its replies were tried and done."""

    def __init__(self, *args: Any, **kwds: Any) -> None:
        self.tried: list[Any] = []
        self.done: list[Any] = []
        super().__init__(*args, **kwds)

    @messaging.RpcHandler("command", "say")
    def say(self, content: Any, reply: Any) -> None:
        self.asked.append(content["parameters"])
        self.gate.wait()
        self.tried.append(content["parameters"])
        reply(content["parameters"])
        self.done.append(content["parameters"])

    @messaging.RpcHandler("command", "say_later")
    def say_later(self, content: Any, reply: Any) -> None:
        self.asked.append(content["parameters"])
        reply = reply.later()

        def answer() -> None:
            self.gate.wait()
            self.tried.append(content["parameters"])
            reply(content["parameters"])
            self.done.append(content["parameters"])

        gevent.spawn(answer)


@pytest.fixture
def server(endpoint: Endpoint, hup: Any) -> Iterator[Replying]:
    made = Replying({"name": "server"}, endpoint.eqk, hup)
    made.shutdown_timeout = AGES
    with running(made):
        yield made
        made.gate.set()


@pytest.fixture(params=["say", "say_later"])
def name(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


def asked(endpoint: Endpoint, server: Replying, name: str, timeout: float) -> Any:
    """Make a call whose server has begun to handle it."""
    server.gate.set()
    caller = endpoint.producer()
    assert caller.rpc_say("warm").value == "warm"
    server.gate.clear()
    server.forget()
    call = gevent.spawn(getattr(caller, f"rpc_{name}"), 1, _timeout=timeout)
    wait_until(lambda: server.asked == [1], SOON)
    server.tried.clear()
    server.done.clear()
    return call


def lose(server: Replying, proxy: Proxy) -> None:
    """Take the broker from *server*, and let its handler reply."""
    proxy.refuse()
    proxy.cut()
    wait_until(lambda: not pair_of(server.consumer).connections, SOON)
    server.gate.set()
    wait_until(lambda: server.tried == [1], SOON)


def test_a_stop_does_not_wait_for_a_reply_without_a_broker(
    endpoint: Endpoint, server: Replying, proxy: Proxy, name: str
) -> None:
    call = asked(endpoint, server, name, AGES)
    lose(server, proxy)
    assert_stays(lambda: not server.done, 0.2)
    watch = Stopwatch()
    messaging.MessageProcessor.stop(server)
    wait_until(lambda: server.done == [1], SOON)

    assert watch.own < 2 * GRACE
    assert server.counts["lost_reply"] == 1
    call.kill()


def test_a_reply_waits_no_longer_than_its_caller(
    endpoint: Endpoint, server: Replying, proxy: Proxy, name: str
) -> None:
    call = asked(endpoint, server, name, 1.0)
    watch = Stopwatch()
    lose(server, proxy)
    wait_until(lambda: server.done == [1], SOON)

    assert watch.own < 1.0 + GRACE
    assert call.get(timeout=SOON).value == "TimeoutError"
    assert server.counts["lost_reply"] == 1


def test_a_reply_outlasts_an_outage_that_its_caller_outlasts(
    endpoint: Endpoint, server: Replying, proxy: Proxy, name: str
) -> None:
    call = asked(endpoint, server, name, SOON)
    lose(server, proxy)
    assert_stays(lambda: not server.done, 0.3)
    proxy.accept()

    assert call.get(timeout=SOON).value == 1
    assert server.counts["lost_reply"] == 0


class Cutting(Replying):
    """Loses its connection in the turn of the hub in which it replies."""

    @messaging.RpcHandler("command", "cut")
    def cut(self, content: Any, reply: Any) -> None:
        self.asked.append(content["parameters"])
        self.gate.wait()
        reply(content["parameters"])
        publishing = pair_of(self.consumer).publishing
        connection = publishing.current
        connection.transport.cut()
        wait_until(lambda: publishing.current is not connection, SOON)


@pytest.mark.parametrize("calls", [1, 20])
def test_a_reply_that_its_connection_loses_is_sent_again(
    endpoint: Endpoint, hup: Any, calls: int
) -> None:
    caller = endpoint.producer(rpc_timeout=AGES)
    server = Cutting({"name": "server"}, endpoint.eqk, hup)
    with running(server):
        server.gate.set()
        assert caller.rpc_say("warm").value == "warm"
        server.gate.clear()
        server.forget()
        runs = [gevent.spawn(caller.rpc_cut, n) for n in range(calls)]
        wait_until(lambda: len(server.asked) == calls, SOON)
        server.gate.set()  # all reply in one turn, and lose one connection

        assert [each.value for each in outcomes(runs, SOON)] == list(range(calls))
        assert sorted(server.asked) == list(range(calls))


def test_a_reply_that_is_lost_again_is_sent_again(endpoint: Endpoint, hup: Any) -> None:
    caller = endpoint.producer(rpc_timeout=AGES)
    server = Cutting({"name": "server"}, endpoint.eqk, hup)
    server.concurrency = 1  # each reply waits for a new connection, and cuts it
    most = len(MARKS) - 1
    with running(server):
        server.gate.set()
        assert caller.rpc_say("warm").value == "warm"
        publishing = pair_of(server.consumer).publishing
        losses = publishing.losses
        runs = [gevent.spawn(caller.rpc_cut, n) for n in range(most)]

        assert [each.value for each in outcomes(runs, SOON)] == list(range(most))
        wait_until(lambda: publishing.losses == losses + most, SOON)


def test_a_stop_under_an_alarm_does_not_wait_for_a_reply(endpoint: Endpoint) -> None:
    with BrokerThread() as broker:
        hup = {"host": "127.0.0.1", "port": broker.port, "user": "guest", "password": "guest"}
        server = Replying({"name": "server"}, endpoint.eqk, hup, "/")
        server.shutdown_timeout = AGES
        caller = endpoint.producer(hup={**hup, "host": "localhost"}, vhost="/")
        with running(server):
            server.gate.set()
            assert caller.rpc_say("warm").value == "warm"
            server.gate.clear()
            call = gevent.spawn(caller.rpc_say, 1, _timeout=AGES)
            wait_until(lambda: server.asked == ["warm", 1], SOON)
            broker.faults.block()
            wait_until(lambda: pair_of(server.consumer).publishing.current.transport.blocked, SOON)
            server.gate.set()
            wait_until(lambda: server.tried == ["warm", 1], SOON)
            assert_stays(lambda: server.done == ["warm"], 0.2)
            watch = Stopwatch()
            messaging.MessageProcessor.stop(server)

            assert watch.own < 2 * GRACE
            assert server.counts["lost_reply"] == 1
            broker.faults.unblock()
            call.kill()


def test_a_reply_whose_channel_is_lost_as_it_opens_is_sent(
    endpoint: Endpoint, server: Replying, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = asked(endpoint, server, "say", SOON)
    connection = pair_of(server.consumer).publishing.get()
    connection.calling.invalidate()
    get = connection.calling.get

    def get_while_it_is_lost() -> Any:
        connection.transport.cut()
        return get()

    monkeypatch.setattr(connection.calling, "get", get_while_it_is_lost)
    server.gate.set()

    assert call.get(timeout=SOON).value == 1
    assert (server.asked, server.counts["lost_reply"]) == ([1], 0)
