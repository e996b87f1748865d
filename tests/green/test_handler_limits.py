"""Handlers with a limit: never more at a time, never faster, and beside others."""

from __future__ import annotations

import time
from functools import partial
from typing import Any

import gevent
import gevent.event
import pytest

from postage import green, messaging
from postage.green.handling import admission
from postage.handler_limits import TokenBucket
from postage.testing.polling import wait_until
from tests.support.endpoints import Endpoint
from tests.support.recorder import Recorder, at
from tests.support.running import SOON, running, warm
from tests.support.waiting import assert_stays

pytestmark = pytest.mark.usefixtures("broker_env")


class Worker(Recorder):
    """Has a handler for five messages at a time, and one without a limit."""

    def __init__(self, *args: Any, **kwds: Any) -> None:
        super().__init__(*args, **kwds)
        self.busy = self.most = 0
        self.gate = gevent.event.Event()

    def count(self, content: Any, pause: float) -> None:
        self.busy += 1
        self.most = max(self.most, self.busy)
        self.seen.append(content["parameters"])
        gevent.sleep(pause)
        self.busy -= 1

    @green.limit(5)
    @messaging.MessageHandler("command", "narrow")
    def narrow(self, content: Any) -> None:
        self.count(content, 0.001)

    @messaging.MessageHandler("command", "stuck")
    @green.limit(1)
    def stuck(self, content: Any) -> None:
        self.seen.append(content["parameters"])
        self.gate.wait()

    @messaging.MessageHandler("command", "free")
    def free(self, content: Any) -> None:
        self.seen.append("free")

    @messaging.RpcHandler("command", "ask")
    @green.limit(1)
    def ask(self, content: Any, reply: Any) -> None:
        self.seen.append(content["parameters"])
        self.gate.wait()
        reply(content["parameters"])

    @green.limit(rate=50)
    @messaging.MessageHandler("command", "slow")
    def slow(self, content: Any) -> None:
        self.seen.append(time.monotonic())

    @messaging.MessageHandler("command", "fail")
    @green.limit(1)
    def fail(self, content: Any) -> None:
        raise KeyError


def worker(endpoint: Endpoint, **attributes: Any) -> Any:
    return at(endpoint, type("Worker", (Worker,), attributes))


def send(endpoint: Endpoint, name: str, count: int) -> None:
    producer = endpoint.producer()
    for number in range(count):
        producer.send(name, number)


def test_never_more_run_among_250(endpoint):
    made = worker(endpoint)
    send(endpoint, "narrow", 500)
    with running(made):
        wait_until(lambda: len(made.seen) == 500, SOON)
        wait_until(lambda: made.statistics().waiting == 0, SOON)
    assert made.most == 5
    assert made.seen == [*range(500)]
    assert made.counts["handled"] == 500


def test_the_limit_is_of_each_processor(endpoint):
    made = [worker(endpoint) for _ in range(2)]
    with running(*made):
        send(endpoint, "stuck", 2)
        wait_until(lambda: [len(each.seen) for each in made] == [1, 1], SOON)
        for each in made:
            each.gate.set()


def test_those_that_wait_take_no_place_of_others(endpoint):
    made = worker(endpoint, concurrency=3, prefetch=50)
    send(endpoint, "stuck", 40)
    send(endpoint, "free", 5)
    with running(made):
        wait_until(lambda: made.seen.count("free") == 5, SOON)
        assert made.statistics().busy == 1
        assert made.statistics().waiting == 39
        made.gate.set()
        wait_until(lambda: len(made.seen) == 45, SOON)
    assert [each for each in made.seen if each != "free"] == [*range(40)]


def test_failures_free_their_places(endpoint):
    made = worker(endpoint)
    send(endpoint, "fail", 20)
    with running(made):
        wait_until(lambda: made.counts["parked"] == 20, SOON)


def test_calls_wait_for_their_turn(endpoint):
    made = worker(endpoint)
    made.gate.set()
    producer = endpoint.producer()
    with running(made):
        calls = [gevent.spawn(producer.rpc_ask, number) for number in range(20)]
        assert sorted(each.get(timeout=SOON).value for each in calls) == [*range(20)]


def test_a_call_that_waited_too_long_is_not_begun(endpoint):
    made = worker(endpoint)
    producer = endpoint.producer()
    with running(made):
        warm(producer)
        calls = [gevent.spawn(producer.rpc_ask, number, _timeout=0.5) for number in range(5)]
        wait_until(lambda: made.statistics().waiting == 4, SOON)
        late = time.monotonic() + 0.5  # all have arrived before
        assert {each.get().value for each in calls} == {"TimeoutError"}
        wait_until(lambda: time.monotonic() > late, SOON)
        made.gate.set()
        wait_until(lambda: made.counts["expired"] == 4, SOON)
        assert producer.rpc_ask("last").value == "last"
    assert len(made.seen) == 2


def test_the_rate_holds(endpoint, monkeypatch, clock):
    """The clock of the bucket is that of the test: without its turning, nothing begins."""
    monkeypatch.setattr(admission, "TokenBucket", partial(TokenBucket, clock=clock))
    made = worker(endpoint)
    send(endpoint, "slow", 150)
    with running(made):
        wait_until(lambda: len(made.seen) == 3, SOON)  # the burst: one, and a twentieth of a second
        assert_stays(lambda: len(made.seen) == 3, 0.1)
        for _ in range(50):
            clock.now += 0.02
            wait_until(lambda: made.statistics().waiting == 150 - len(made.seen), SOON)
            gevent.sleep(0.025)
        wait_until(lambda: len(made.seen) >= 50, SOON)
        assert len(made.seen) <= 53.5
        clock.now += 10
        wait_until(lambda: len(made.seen) >= 56, SOON)
        assert len(made.seen) <= 57


def test_the_rate_is_reached_by_the_real_clock(endpoint):
    made = worker(endpoint)
    send(endpoint, "slow", 50)
    with running(made):
        wait_until(lambda: len(made.seen) == 50, SOON)
    taken = made.seen[-1] - made.seen[0]
    assert taken >= 0.95 * 47 / 50  # a busy machine may be slower, but nothing may be faster


def test_what_waits_for_a_lost_connection_is_not_handled_twice(endpoint, hup, proxy):
    made = Worker({"name": "w"}, endpoint.eqk, hup)
    send(endpoint, "stuck", 10)
    with running(made):
        wait_until(lambda: made.statistics().waiting == 9, SOON)
        proxy.cut()
        wait_until(lambda: made.counts["restored"] == 1, SOON)
        made.gate.set()
        wait_until(lambda: set(made.seen) == {*range(10)}, SOON)
        wait_until(lambda: made.statistics().waiting == 0, SOON)
    assert made.seen.count(0) <= 2
    assert [made.seen.count(each) for each in range(1, 10)] == [1] * 9


def test_a_pause_gives_back_what_waits(endpoint, raw):
    made = worker(endpoint)
    send(endpoint, "stuck", 10)
    with running(made):
        wait_until(lambda: made.statistics().waiting == 9, SOON)
        made.pause()
        wait_until(lambda: raw.count(endpoint.queue) == 9, SOON)
        made.gate.set()
        made.resume()
        wait_until(lambda: made.seen == [*range(10)], SOON)


def test_a_stop_gives_back_what_waits(endpoint, raw):
    made = worker(endpoint, shutdown_timeout=0.1)
    send(endpoint, "stuck", 10)
    with running(made):
        wait_until(lambda: made.statistics().waiting == 9, SOON)
        made.stop_consuming()
        wait_until(lambda: raw.count(endpoint.queue) >= 9, SOON)
    wait_until(lambda: raw.count(endpoint.queue) == 10, SOON)


def test_a_message_with_two_limits_needs_both(endpoint):
    class Both(Worker):
        @messaging.MessageHandler("command", "stuck")
        @green.limit(3)
        def also(self, content: Any) -> None:
            self.count(content, 0)

    made = at(endpoint, Both)
    made.gate.set()
    send(endpoint, "stuck", 30)
    with running(made):
        wait_until(lambda: made.counts["handled"] == 30, SOON)
    assert made.most == 1
