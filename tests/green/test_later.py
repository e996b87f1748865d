"""Calls in the background: many at once, one by one, and without a waiter."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from typing import Any

import gevent
import gevent.event
import pytest

from postage import green, messaging
from postage.errors import EncodingError
from postage.green.rpc.pending import PendingCall
from postage.testing.polling import wait_until
from tests.support.endpoints import Endpoint
from tests.support.raw import Raw
from tests.support.recovery import calls_of
from tests.support.running import SOON, running
from tests.support.stopwatch import Stopwatch

pytestmark = pytest.mark.usefixtures("broker_env")

GRACE = 0.5


class Server(messaging.MessageProcessor):
    """Squares numbers, when its gate is open."""

    concurrency = 1000

    def __init__(self, *args: Any, **kwds: Any) -> None:
        self.gate = gevent.event.Event()
        self.asked: list[Any] = []
        super().__init__(*args, **kwds)

    @messaging.RpcHandler("command", "square")
    def square(self, content: Any, reply: Any) -> None:
        number = content["parameters"]
        self.asked.append(number)
        self.gate.wait()
        reply(number * number)


class Producer(messaging.GenericProducer):
    def build_rpc_squared(self, number: int) -> messaging.RpcCommand:
        return messaging.RpcCommand("square", number)


@pytest.fixture
def server(endpoint: Endpoint) -> Iterator[Server]:
    made = Server({"name": "server"}, endpoint.eqk)
    made.gate.set()
    with running(made):
        yield made
        made.gate.set()


@pytest.fixture
def caller(endpoint: Endpoint) -> Any:
    return endpoint.producer(Producer)


def test_both_forms_of_a_call(caller: Any, server: Server) -> None:
    assert caller.rpc_square(3).value == 9
    assert caller.rpc_square.later(4).get(timeout=SOON).value == 16
    assert caller.rpc_squared(5).value == 25
    assert caller.rpc_squared.later(number=6).get(timeout=SOON).value == 36


def test_two_hundred_at_once(caller: Any, server: Server) -> None:
    server.gate.clear()
    pending = [caller.rpc_square.later(number) for number in range(200)]
    assert not server.asked  # nothing has switched
    wait_until(lambda: len(server.asked) == 200, SOON)
    assert not any(each.ready() for each in pending)
    server.gate.set()

    assert len(gevent.wait(pending, timeout=SOON)) == 200
    assert [each.get(block=False).value for each in pending] == [n * n for n in range(200)]
    assert len(calls_of(caller)) == 0


def test_results_one_by_one_as_they_come(caller: Any, server: Server) -> None:
    pending = {caller.rpc_square.later(number): number for number in range(20)}
    seen = {pending[each]: each.get().value for each in gevent.iwait(pending, timeout=SOON)}
    assert seen == {number: number * number for number in range(20)}


def test_some_fail_and_the_others_do_not(endpoint: Endpoint, caller: Any, server: Server) -> None:
    pending = [
        caller.rpc_square.later(2, _key=key) for key in (endpoint.key, "nobody", endpoint.key)
    ]
    results = [each.get(timeout=SOON) for each in pending]
    assert [result.value for result in results] == [4, "NoRoute", 4]
    assert [bool(result) for result in results] == [True, False, True]


def test_the_limit_of_the_call_holds(caller: Any, server: Server) -> None:
    server.gate.clear()
    watch = Stopwatch()
    pending = [caller.rpc_square.later(n, _timeout=0.3, _max_retry=1) for n in range(50)]
    gevent.wait(pending, timeout=SOON)

    assert watch.seconds >= 0.6
    assert watch.own < 0.6 + GRACE
    assert {each.get(block=False).value for each in pending} == {"TimeoutError"}


def test_what_cannot_be_built_or_encoded_raises_at_once(caller: Any, server: Server) -> None:
    with pytest.raises(EncodingError):
        caller.rpc_square.later(object())
    with pytest.raises(TypeError):
        caller.rpc_squared.later()
    assert len(calls_of(caller)) == 0


def test_killing_a_waiter_does_not_end_the_call(caller: Any, server: Server) -> None:
    server.gate.clear()
    pending = caller.rpc_square.later(3)
    waiter = gevent.spawn(pending.get)
    wait_until(lambda: server.asked == [3], SOON)
    with pytest.raises(gevent.Timeout):
        pending.get(timeout=0.01)
    waiter.kill()
    server.gate.set()

    assert pending.get(timeout=SOON).value == 9


def test_a_call_without_a_waiter_leaves_nothing(caller: Any, server: Server) -> None:
    for number in range(20):
        caller.rpc_square.later(number)
    wait_until(lambda: len(server.asked) == 20, SOON)
    wait_until(lambda: not len(calls_of(caller)), SOON)

    gc.collect()
    assert not [each for each in gc.get_objects() if type(each) is PendingCall]


def test_killing_the_greenlet_gives_the_call_up(caller: Any, server: Server) -> None:
    server.gate.clear()
    pending = caller.rpc_square.later(3)
    wait_until(lambda: server.asked == [3], SOON)
    pending.kill()

    assert pending.ready()
    assert len(calls_of(caller)) == 0


def test_closing_our_connections_ends_a_call(
    caller: Any, server: Server, endpoint: Endpoint, raw: Raw
) -> None:
    server.gate.clear()
    pending = [caller.rpc_square.later(n) for n in range(3)]
    wait_until(lambda: len(server.asked) == 3, SOON)
    server.stop_consuming()
    server.gate.set()
    wait_until(lambda: "idle" in repr(server), SOON)
    still = caller.rpc_square.later(4)
    wait_until(lambda: caller.statistics().calling == 1 and raw.count(endpoint.queue) == 1, SOON)
    green.close(1.0)

    assert [each.get(timeout=SOON).value for each in pending] == [0, 1, 4]
    assert still.get(timeout=SOON).value == "ConnectionLost"


def test_a_private_queue_can_be_asked_for_later_as_well(caller: Any, server: Server) -> None:
    queue = caller.rpc_queue_square.later(3).get(timeout=SOON)
    assert [each.value for each in caller.consume_rpc(queue)] == [9]
