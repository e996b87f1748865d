"""A publishing connection that the broker does not read is left for another one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import gevent
import pytest

from postage import green, messaging
from postage.broker import BrokerThread
from postage.testing.polling import wait_until
from tests.support.attempts import outcomes
from tests.support.endpoints import Endpoint
from tests.support.proxy import Proxy
from tests.support.recovery import GatedServer, calls_of, pair_of
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


# --- what waits on the connection that is left, and what is still in use there


def stop_reading(broker: BrokerThread) -> Callable[[], None]:
    """Let the broker read nothing from present publishers; return what lets it read again.

    So RabbitMQ treats a connection whose messages a queue does not take (credit flow).
    """
    connections: list[Any] = []

    def change(blocked: bool) -> None:
        for each in connections:
            each.blocked = blocked
            each.write(b"")

    def begin() -> None:
        publishing = (each for each in broker.broker.node.connections if "publishing" in each.name)
        connections.extend(publishing)
        change(True)

    broker.call(begin)
    return partial(broker.call, change, False)


def fill(endpoint: Endpoint, component: Any) -> None:
    """Write to the connection of *component* until no publisher can write any more."""
    publishing = pair_of(component).publishing.current
    attributes = {"eks": endpoint.eks, "confirm": False}
    kind: Any = type("Filler", (messaging.GenericProducer,), attributes)
    filler = kind(settings=component.settings)
    filling = gevent.spawn(lambda: [filler.message_note("x" * 100_000) for _ in range(1000)])
    wait_until(lambda: not publishing.transport.takes_data, SOON)
    filling.kill()


@pytest.mark.parametrize("is_open", [True, False], ids=["to-write", "to-open-a-channel"])
def test_publishers_and_calls_that_wait_leave_as_well(
    endpoint: Endpoint, broker: BrokerThread, server: GatedServer, is_open: bool
) -> None:
    caller = caller_at(endpoint, broker)
    for n in range(2):
        assert caller.rpc_ask(n).value == n
    if is_open:
        caller.message_note("confirmed")
    left = pair_of(caller).publishing.current
    left.plain.get()
    stop_reading(broker)
    calls = [gevent.spawn(caller.rpc_ask, "written")]
    gevent.sleep(0)
    fill(endpoint, caller)
    calls.append(gevent.spawn(caller.rpc_ask, "waiting"))
    message = gevent.spawn(caller.message_note, "waiting")
    watch = Stopwatch()

    outcomes([message], SOON)
    assert calls[1].get(timeout=SOON).value == "waiting"
    assert watch.own < 2 * HELD_UP
    assert pair_of(caller).publishing.current is not left
    gevent.killall(calls)


def test_replies_that_wait_leave_as_well(
    endpoint: Endpoint, broker: BrokerThread, server: GatedServer
) -> None:
    caller = caller_at(endpoint, broker)
    assert caller.rpc_ask("warm").value == "warm"
    left = pair_of(server.consumer).publishing.current
    server.gate.clear()
    calls = [gevent.spawn(caller.rpc_ask, f"{n}".zfill(500_000)) for n in range(30)]
    wait_until(lambda: len(server.asked) == 31, SOON)
    stop_reading(broker)
    server.gate.set()
    wait_until(lambda: not left.transport.takes_data, SOON)
    watch = Stopwatch()

    assert {each.value for each in outcomes(calls, SOON)} == set(server.asked[1:])
    assert watch.own < 2 * HELD_UP
    assert server.counts["lost_reply"] == 0


def test_calls_with_short_timeouts_leave_as_well(
    endpoint: Endpoint, broker: BrokerThread, server: GatedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("postage.green.amqp.connection.MIN_CHANNEL_AGE", 0.0)
    caller = caller_at(endpoint, broker)
    for n in range(2):
        assert caller.rpc_ask(n).value == n
    channels = pair_of(caller).publishing.current._channels
    wait_until(lambda: not any(each._record.entries for each in channels), SOON)
    left = silence(caller, broker)
    watch = Stopwatch()
    while not caller.rpc_ask("?", _timeout=0.3):
        assert watch.own < 2 * HELD_UP
    assert pair_of(caller).publishing.current is not left
    assert pair_of(caller).publishing.losses == 0, "it was not left, but given up"


def test_a_first_call_is_tried_again_on_the_other_connection(
    endpoint: Endpoint, broker: BrokerThread
) -> None:
    eqk = endpoint.at((endpoint.queue, endpoint.key), (endpoint.queue, "other"))
    server = GatedServer({"name": "server"}, eqk, hup_of(broker, "127.0.0.1"), "/")
    with running(server):
        caller = caller_at(endpoint, broker)
        first = gevent.spawn(caller.rpc_ask, "first", _key="other", _timeout=3.0, _max_retry=1)
        wait_until(lambda: server.asked == ["first"], SOON)
        left = silence(caller, broker)
        assert left.lends_reply_channels
        gevent.spawn(caller.rpc_ask, "second", _key="other")
        wait_until(lambda: pair_of(caller).publishing.current is not left, SOON)
        wait_until(lambda: server.asked.count("first") == 2, SOON, "it is sent again")
        server.gate.set()

        assert first.get(timeout=SOON).value == "first"


def test_a_reply_may_still_come_on_the_connection_that_was_left(
    endpoint: Endpoint, broker: BrokerThread, server: GatedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("postage.green.amqp.detours.CHECK_INTERVAL", 0.05)
    caller = caller_at(endpoint, broker)
    server.gate.clear()
    first = gevent.spawn(caller.rpc_ask, 1)
    wait_until(lambda: server.asked == [1], SOON)
    left = pair_of(caller).publishing.current
    assert left.lends_reply_channels
    read_on = stop_reading(broker)
    second = gevent.spawn(caller.rpc_ask, 2)
    wait_until(lambda: pair_of(caller).publishing.current is not left, SOON)
    read_on()
    wait_until(lambda: 2 in server.asked, SOON)
    assert_stays(lambda: left.alive, 1.0)
    server.gate.set()

    assert [each.get(timeout=SOON).value for each in (first, second)] == [1, 2]
    wait_until(lambda: not left.alive, SOON, "it is closed in the end")


def test_the_end_of_what_was_left_ends_no_other_calls(
    endpoint: Endpoint, broker: BrokerThread, server: GatedServer
) -> None:
    caller = caller_at(endpoint, broker)
    calls_of(caller)._replies_directly = True  # as for a user who may declare no queue
    for n in range(2):
        assert caller.rpc_ask(n).value == n
    pair = pair_of(caller)
    left = pair.publishing.current
    assert pair.publishing.supersede(left, pair._detours._make((left.host, left.port)))
    pair._on_leave([])
    server.gate.clear()
    call = gevent.spawn(caller.rpc_ask, "mine")
    wait_until(lambda: "mine" in server.asked, SOON)
    left.close(1.0)
    server.gate.set()

    assert call.get(timeout=SOON).value == "mine"
