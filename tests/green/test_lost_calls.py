"""Calls that lose their connection, channel or reply queue: retried, then ended."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import gevent.event
import pytest
from gevent.event import AsyncResult

from postage.errors import ConnectionLost, ConsumerCancelled
from postage.green.amqp import reconnecting
from postage.green.amqp.pair import Pair
from postage.green.rpc.peers import PeerEvent
from postage.testing.polling import wait_until
from tests.faults.catalogue import delete_reply_queues
from tests.faults.fault_env import on_embedded
from tests.support.attempts import outcomes, spawned
from tests.support.endpoints import Endpoint
from tests.support.proxy import Proxy
from tests.support.recovery import GRACE, GatedServer, assert_nothing_is_left, calls_of, pair_of
from tests.support.running import SOON, running
from tests.support.stopwatch import Stopwatch
from tests.support.waiting import assert_stays

pytestmark = pytest.mark.usefixtures("broker_env", "queues_for_replies")

AGES = 300.0
ROLES = ["publishing", "consuming", "both"]


@pytest.fixture
def server(endpoint: Endpoint) -> Iterator[GatedServer]:
    """A server for the calls of the test; its gate is opened at the end."""
    made = GatedServer({"name": "server"}, endpoint.eqk)
    with running(made):
        yield made
        made.gate.set()


@pytest.fixture
def caller(endpoint: Endpoint, proxy: Proxy, broker_env: Any, server: GatedServer) -> Any:
    """A producer behind the proxy, whose calls share the reply queue."""
    hup = {**broker_env.hup, "port": proxy.port}
    made = endpoint.producer(hup=hup, rpc_timeout=AGES, max_retry=1)
    warm(made, server)
    return made


def warm(caller: Any, server: GatedServer) -> None:
    """Make the first call, which shows that the server returns ids."""
    server.gate.set()
    assert caller.rpc_ask("warm").value == "warm"
    server.gate.clear()
    server.forget()


def make_classic(caller: Any, endpoint: Endpoint) -> None:
    """Let further calls have reply queues of their own, as to a server that returns no id."""
    destination = endpoint.exchange.name, endpoint.key
    calls_of(caller).peers.record(destination, PeerEvent.ID_MISSING)


def asked(server: GatedServer, *what: Any) -> None:
    wait_until(lambda: sorted(server.asked) == sorted(what), SOON, f"the server got {what}")


def cut(pair: Pair, role: str) -> None:
    """Cut the open connections of the *role*, as the network does."""
    roles = ROLES[:2] if role == "both" else [role]
    connections = [getattr(pair, each).current for each in roles]
    for connection in connections:
        connection.transport.cut()
    wait_until(lambda: not any(each.alive for each in connections), SOON)


def delete(pair: Pair, queue: str) -> None:
    """Delete an exclusive queue, as only its own connection may."""
    with pair.consuming.get().lease() as channel:
        channel.queue_delete(queue)


# --- losses before and after the write


def test_a_connection_lost_before_the_write_uses_up_no_try(
    caller: Any, server: GatedServer, proxy: Proxy
) -> None:
    proxy.refuse()
    proxy.cut()
    wait_until(lambda: not pair_of(caller).connections, SOON)
    call = gevent.spawn(caller.rpc_ask, 1, _max_retry=0)
    gevent.idle()
    server.gate.set()
    proxy.accept()

    assert call.get(timeout=SOON).value == 1
    assert server.asked == [1]
    assert calls_of(caller).counts["repeated"] == 0
    assert_nothing_is_left(caller)


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("warmed", [True, False], ids=["shared-queue", "own-queue"])
def test_a_loss_after_the_write_sends_it_again_with_the_same_id(
    endpoint: Endpoint, caller: Any, server: GatedServer, role: str, warmed: bool
) -> None:
    if not warmed:
        make_classic(caller, endpoint)
    call = gevent.spawn(caller.rpc_ask, 1)
    asked(server, 1)
    cut(pair_of(caller), role)
    asked(server, 1, 1)
    server.gate.set()

    assert call.get(timeout=SOON).value == 1
    assert len({header.correlation_id for header in server.headers}) == 1
    assert len({header.reply_to for header in server.headers}) == (1 if role == "publishing" else 2)
    assert calls_of(caller).counts["repeated"] == 1
    assert_nothing_is_left(caller)


@pytest.mark.parametrize("role", ROLES)
def test_without_further_tries_a_loss_is_the_outcome_at_once(
    caller: Any, server: GatedServer, role: str
) -> None:
    call = gevent.spawn(caller.rpc_ask, 1, _max_retry=0)
    asked(server, 1)
    watch = Stopwatch()
    cut(pair_of(caller), role)
    result = call.get(timeout=SOON)

    assert watch.own < GRACE
    assert result.value == "ConnectionLost"
    assert result.message.startswith("the connection to the broker was lost")
    assert server.asked == [1]
    assert_nothing_is_left(caller)


def test_every_loss_uses_up_a_try(caller: Any, server: GatedServer) -> None:
    call = gevent.spawn(caller.rpc_ask, 1, _max_retry=2)
    for times in range(1, 4):
        asked(server, *[1] * times)
        cut(pair_of(caller), "publishing")

    assert call.get(timeout=SOON).value == "ConnectionLost"
    assert len(server.asked) == 3
    assert_nothing_is_left(caller)


def test_a_replaced_channel_can_still_lose_its_calls(
    caller: Any, server: GatedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("postage.green.amqp.connection.MIN_CHANNEL_AGE", 0.0)
    retired = pair_of(caller).publishing.current.calling.current
    call = gevent.spawn(caller.rpc_ask, 1, _max_retry=0)
    asked(server, 1)
    assert caller.rpc_ask(2, _timeout=0.05, _max_retry=0).value == "TimeoutError"
    assert not retired.alive
    assert not call.dead
    cut(pair_of(caller), "publishing")

    assert call.get(timeout=SOON).value == "ConnectionLost"


def test_a_reply_to_the_first_try_ends_a_call_before_its_retry(
    caller: Any, server: GatedServer, proxy: Proxy
) -> None:
    call = gevent.spawn(caller.rpc_ask, 1)
    asked(server, 1)
    proxy.refuse()
    cut(pair_of(caller), "publishing")
    gevent.idle()
    assert not call.dead
    watch = Stopwatch()
    server.gate.set()

    assert call.get(timeout=SOON).value == 1
    assert watch.own < GRACE
    assert_nothing_is_left(caller)


def test_the_time_of_a_try_does_not_include_connecting(
    caller: Any, server: GatedServer, proxy: Proxy
) -> None:
    proxy.refuse()
    proxy.cut()
    call = gevent.spawn(caller.rpc_ask, 1, _timeout=1.0, _max_retry=2)
    assert_stays(lambda: not call.dead, 0.8)
    proxy.accept()
    asked(server, 1)
    assert_stays(lambda: not call.dead, 0.5)
    server.gate.set()

    assert call.get(timeout=SOON).value == 1
    assert server.asked == [1]


# --- limits


@pytest.mark.parametrize("retries", [0, 3])
def test_a_broker_that_stays_away_costs_the_time_of_the_call(
    caller: Any, proxy: Proxy, retries: int
) -> None:
    proxy.refuse()
    proxy.cut()
    wait_until(lambda: not pair_of(caller).connections, SOON)
    watch = Stopwatch()
    result = caller.rpc_ask(1, _timeout=0.8 / (retries + 1), _max_retry=retries)

    assert watch.seconds >= 0.8
    assert watch.own < 0.8 + GRACE
    assert result.value == "ConnectionLost"
    assert "no AMQP 0-9-1 broker answered" in result.message
    assert_nothing_is_left(caller)


def test_the_cause_is_reported_even_after_a_stall(
    caller: Any, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Interrupted(AsyncResult):
        def wait(self, timeout: float | None = None) -> Any:
            time.sleep(0.02)  # a stall between computing the limit and starting its timer
            return super().wait(timeout)

    monkeypatch.setattr(reconnecting, "AsyncResult", Interrupted)
    proxy.refuse()
    proxy.cut()
    wait_until(lambda: not pair_of(caller).connections, SOON)

    assert caller.rpc_ask(1, _timeout=0.8, _max_retry=0).value == "ConnectionLost"


def test_our_close_fails_a_call_that_waits_to_connect(caller: Any, proxy: Proxy) -> None:
    proxy.refuse()
    proxy.cut()
    wait_until(lambda: not pair_of(caller).connections, SOON)
    calls = calls_of(caller)
    runs = [gevent.spawn(caller.rpc_ask, n) for n in range(3)]
    gevent.idle()
    watch = Stopwatch()
    pair_of(caller).close(1.0)

    assert [each.value for each in outcomes(runs, SOON)] == ["ConnectionLost"] * 3
    assert watch.own < GRACE
    assert len(calls) == 0


def test_our_close_fails_a_waiting_call_without_a_retry(caller: Any, server: GatedServer) -> None:
    calls = calls_of(caller)
    runs = [gevent.spawn(caller.rpc_ask, n) for n in range(3)]
    asked(server, 0, 1, 2)
    pair_of(caller).close(1.0)  # green.close() would end the server as well

    results = outcomes(runs, SOON)
    assert [each.value for each in results] == ["ConnectionLost"] * 3
    assert server.asked == [0, 1, 2]
    assert len(calls) == 0


@pytest.mark.limit(120)
def test_the_limits_of_a_thousand_calls_hold_through_a_cut(
    endpoint: Endpoint, caller: Any, server: GatedServer, proxy: Proxy
) -> None:
    server.concurrency = 2000
    watch = Stopwatch()
    runs = [gevent.spawn(timed, caller.rpc_ask, n, _timeout=1.5) for n in range(1000)]
    wait_until(lambda: len(server.asked) >= 100, SOON)
    proxy.cut()
    ended = outcomes(runs, 60)

    assert watch.seconds >= 1.5
    assert {result.value for result, _ in ended} == {"TimeoutError"}
    assert max(took for _, took in ended) < 3.0 + GRACE
    assert_nothing_is_left(caller)


def timed(call: Callable[..., Any], *args: Any, **kwds: Any) -> tuple[Any, float]:
    watch = Stopwatch()
    return call(*args, **kwds), watch.own


# --- reply queues


@pytest.mark.parametrize("warmed", [True, False], ids=["shared-queue", "own-queue"])
@pytest.mark.parametrize("retries", [0, 1])
def test_a_reply_queue_that_is_deleted_is_a_loss_like_any_other(
    endpoint: Endpoint, caller: Any, server: GatedServer, warmed: bool, retries: int
) -> None:
    if not warmed:
        make_classic(caller, endpoint)
    call = gevent.spawn(caller.rpc_ask, 1, _max_retry=retries)
    asked(server, 1)
    delete(pair_of(caller), server.headers[0].reply_to)
    if not retries:
        result = call.get(timeout=SOON)
        assert result.value == "ConnectionLost"
        assert "deleted" in result.message
        return
    asked(server, 1, 1)
    server.gate.set()
    assert call.get(timeout=SOON).value == 1
    assert len({header.reply_to for header in server.headers}) == 2
    assert len({header.correlation_id for header in server.headers}) == 1
    assert_nothing_is_left(caller)


def test_calls_on_other_reply_queues_do_not_notice(
    endpoint: Endpoint, caller: Any, server: GatedServer
) -> None:
    first = gevent.spawn(caller.rpc_ask, 1)
    asked(server, 1)
    make_classic(caller, endpoint)
    second = gevent.spawn(caller.rpc_ask, 2)
    asked(server, 1, 2)
    delete(pair_of(caller), server.headers[0].reply_to)
    asked(server, 1, 1, 2)
    server.gate.set()

    assert [each.value for each in outcomes([first, second], SOON)] == [1, 2]
    assert server.asked.count(2) == 1


def test_reply_queues_that_are_deleted_again_and_again(endpoint: Endpoint) -> None:
    with on_embedded() as env:
        echo = GatedServer({"name": "echo"}, endpoint.eqk)
        echo.gate.set()
        producer = endpoint.producer(rpc_timeout=5, max_retry=50)
        with running(echo):
            runs = [gevent.spawn(producer.rpc_ask, n) for n in range(50)]
            while not all(run.dead for run in runs):
                delete_reply_queues(env)
                gevent.wait(runs, timeout=0.1)
        assert [run.value.value for run in runs] == list(range(50))
        assert_nothing_is_left(producer)


# --- killed callers


@pytest.mark.parametrize("warmed", [True, False], ids=["shared-queue", "own-queue"])
def test_callers_that_are_killed_anywhere_leave_nothing(
    endpoint: Endpoint, caller: Any, server: GatedServer, warmed: bool
) -> None:
    if not warmed:
        make_classic(caller, endpoint)
    runs = [gevent.spawn(caller.rpc_ask, n) for n in range(100)]
    for run in runs:
        run.kill()
        gevent.sleep(0.0005)  # the others run meanwhile, so each is killed at another place
    wait_until(lambda: all(run.dead for run in runs), SOON)
    server.gate.set()

    assert_nothing_is_left(caller)
    assert caller.rpc_ask("after").value == "after"


# --- private queues, whose replies are collected later


def collect_two(caller: Any, server: GatedServer, queue: str) -> gevent.Greenlet[..., Any]:
    """Wait for two replies on *queue*, in a greenlet; returns when the first has arrived."""

    def delivered() -> int:
        return sum(each.delivered for each in pair_of(caller).consuming.statistics().channels)

    before = delivered()
    collecting = spawned(caller.consume_rpc, queue, 2)
    server.gate.set()
    wait_until(lambda: delivered() > before, SOON, "the first reply")
    return collecting


def test_collecting_from_a_queue_lost_with_its_connection_fails(
    caller: Any, server: GatedServer, proxy: Proxy
) -> None:
    queue = caller.rpc_queue_ask(1)
    cut(pair_of(caller), "consuming")
    with pytest.raises(ConnectionLost, match="is gone with its connection"):
        caller.consume_rpc(queue)
    pair_of(caller).consuming.get()
    with pytest.raises(ConnectionLost, match="it ends with its connection, or was deleted"):
        caller.consume_rpc(queue)


def test_collecting_ends_when_the_queue_is_deleted(caller: Any, server: GatedServer) -> None:
    queue = caller.rpc_queue_ask(1)
    collecting = collect_two(caller, server, queue)
    delete(pair_of(caller), queue)

    (error,) = outcomes([collecting], SOON)
    assert isinstance(error, ConsumerCancelled)
    assert error.queue == queue
    assert_nothing_is_left(caller)


def test_collecting_ends_with_the_connection(caller: Any, server: GatedServer) -> None:
    collecting = collect_two(caller, server, caller.rpc_queue_ask(1))
    cut(pair_of(caller), "consuming")

    (error,) = outcomes([collecting], SOON)
    assert isinstance(error, ConnectionLost)


# --- servers that come back as well


@pytest.fixture
def lonely(endpoint: Endpoint, proxy: Proxy, broker_env: Any) -> Any:
    """A producer that calls where no server is, and has just connected again."""
    made = endpoint.producer(hup={**broker_env.hup, "port": proxy.port}, rpc_timeout=SOON)
    assert made.rpc_ask(0).value == "NoRoute"
    return made


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("after", [0.0, 0.3])
def test_after_a_reconnect_a_call_waits_for_its_server(
    endpoint: Endpoint, lonely: Any, role: str, after: float
) -> None:
    cut(pair_of(lonely), role)
    pair_of(lonely).publishing.get()
    call = gevent.spawn(lonely.rpc_ask, 1)
    if role == "consuming":  # requests go the way they went before
        assert call.get(timeout=SOON).value == "NoRoute"
        return
    assert_stays(lambda: not call.dead, after)
    server = GatedServer({"name": "server"}, endpoint.eqk)
    server.gate.set()
    with running(server):
        assert call.get(timeout=SOON).value == 1
    assert server.asked == [1]


@pytest.mark.parametrize("calls", [1, 50])
def test_calls_wait_at_most_a_second_for_servers(lonely: Any, calls: int) -> None:
    cut(pair_of(lonely), "both")
    pair_of(lonely).publishing.get()
    watch = Stopwatch()
    runs = [gevent.spawn(lonely.rpc_ask, n) for n in range(calls)]

    assert {each.value for each in outcomes(runs, SOON)} == {"NoRoute"}
    assert watch.seconds > 0.5
    assert watch.own < 2.0 + GRACE
    assert lonely.rpc_ask(1).value == "NoRoute"
    assert watch.own < 2.0 + 2 * GRACE
