"""Many things at once: handlers that wait, calls in flight, and a second native thread."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from typing import Any

import gevent
import gevent.event
import pytest

from postage import green, messaging
from postage.testing.polling import wait_until
from tests.support.programs import Program
from tests.support.running import SOON, running
from tests.support.stopwatch import Stopwatch

pytestmark = pytest.mark.usefixtures("broker_env")


class Waiting(messaging.MessageProcessor):
    """Its handlers wait; `now` and `most` say how many of them do at once."""

    def __init__(self, *args: Any) -> None:
        self.seen: list[Any] = []
        self.now = self.most = 0
        self.gate = gevent.event.Event()
        super().__init__(*args)

    @messaging.RpcHandler("command", "sleep")
    def sleep(self, content, reply_func):
        gevent.sleep(0.1)
        reply_func(content["parameters"])

    @messaging.MessageHandler("command", "note")
    def note(self, content):
        gevent.sleep(random.random() / 200)
        self.seen.append(content["parameters"])

    @messaging.MessageHandler("command", "hold")
    def hold(self, content):
        self.now += 1
        self.most = max(self.most, self.now)
        self.gate.wait()
        self.now -= 1

    @messaging.RpcHandler("command", "echo")
    def echo(self, content, reply_func):
        reply_func(content["parameters"])


def seconds_of(work: Callable[[], None]) -> float:
    """Return how long *work* takes."""
    watch = Stopwatch()
    work()
    return watch.own


@pytest.mark.behaviour("processor-arguments")
def test_handlers_that_wait_do_not_hold_others_up(endpoint):
    """200 calls, 100 at a time, 0.1 s each: 0.2 s and what the calls themselves cost."""
    producer = endpoint.producer()

    def call_all() -> None:
        calls = [gevent.spawn(producer.rpc_sleep, number) for number in range(200)]
        gevent.joinall(calls, timeout=SOON)
        assert [call.get(block=False).value for call in calls] == list(range(200))

    with running(Waiting({}, endpoint.eqk)):
        assert producer.rpc_sleep("warm").value == "warm"
        best = min(seconds_of(call_all) for _ in range(3))

    assert best < 0.5


@pytest.mark.behaviour("processor-arguments")
def test_concurrency_one_keeps_the_order_of_the_queue(endpoint):
    processor = Waiting({}, endpoint.eqk)
    in_order = type("InOrder", (Waiting,), {"concurrency": 1})({}, endpoint.eqk)
    for number in range(100):
        endpoint.producer().message_note(number)

    with running(in_order):
        wait_until(lambda: len(in_order.seen) == 100, SOON)
    assert in_order.seen == list(range(100))

    for number in range(100):
        endpoint.producer().message_note(number)
    with running(processor):
        wait_until(lambda: len(processor.seen) == 100, SOON)
    assert sorted(processor.seen) == list(range(100))


@pytest.mark.behaviour("processor-arguments")
@pytest.mark.parametrize("concurrency", [1, 7])
def test_concurrency_bounds_the_handlers_and_the_messages_taken(endpoint, raw, concurrency):
    bounded = type("Bounded", (Waiting,), {"concurrency": concurrency})({}, endpoint.eqk)
    for _ in range(20):
        endpoint.producer().message_hold()

    with running(bounded):
        wait_until(lambda: bounded.now == concurrency, SOON)
        wait_until(lambda: raw.count(endpoint.queue) == 20 - concurrency, SOON)
        bounded.gate.set()
        wait_until(lambda: bounded.counts["handled"] == 20, SOON)

    assert bounded.most == concurrency


@pytest.mark.behaviour("processor-arguments")
def test_prefetch_can_be_more_than_concurrency(endpoint, raw):
    eager = type("Eager", (Waiting,), {"concurrency": 1, "prefetch": 5})({}, endpoint.eqk)
    for _ in range(20):
        endpoint.producer().message_hold()

    with running(eager):
        wait_until(lambda: raw.count(endpoint.queue) == 15, SOON)
        assert eager.now == 1
        eager.gate.set()
        wait_until(lambda: eager.counts["handled"] == 20, SOON)

    assert eager.most == 1


@pytest.mark.slow
@pytest.mark.behaviour("rpc-call", "rpc-timeout")
def test_ten_thousand_calls_get_their_own_replies(endpoint):
    producer = endpoint.producer(eks=[(endpoint.exchange, "one")], rpc_timeout=30)
    wrong: list[Any] = []

    def caller(me: int) -> int:
        for number in range(100):
            sent = [me, number, random.random()]
            answer = producer.rpc_echo(sent).value
            if answer != sent:
                wrong.append((sent, answer))
        return 100

    with Program("tests/green/programs/component.py", endpoint.queue) as server:
        server.wait_for_line("run 1 of")
        callers = [gevent.spawn(caller, me) for me in range(100)]
        gevent.joinall(callers, timeout=50)

    assert wrong == []
    assert sum(one.get(block=False) for one in callers) == 10_000


@pytest.mark.behaviour("producer-declares-exchanges", "rpc-call")
@pytest.mark.parametrize("tidy", [False, True], ids=["just-ends", "closes-and-destroys-its-hub"])
def test_a_native_thread_with_its_own_hub_shares_the_producer(endpoint, tidy):
    producer = endpoint.producer()
    processor = Waiting({}, endpoint.eqk)
    answers: dict[str, list[Any]] = {}

    def use(who: str) -> None:
        results = []
        for number in range(50):
            producer.message_note((who, number))
            results.append(producer.rpc_echo([who, number]).value)
        answers[who] = results

    def other_thread() -> None:
        workers = [gevent.spawn(use, f"thread {number}") for number in range(3)]
        gevent.joinall(workers, timeout=SOON)
        if tidy:
            green.close()
            gevent.get_hub().destroy()

    thread = threading.Thread(target=other_thread)
    with running(processor):
        thread.start()
        mine = [gevent.spawn(use, f"main {number}") for number in range(3)]
        gevent.joinall(mine, timeout=SOON)
        wait_until(lambda: not thread.is_alive(), SOON)
        wait_until(lambda: processor.counts["handled"] == 6 * 100, SOON)

    whole = {f"{kind} {number}" for kind in ("main", "thread") for number in range(3)}
    assert answers == {who: [[who, number] for number in range(50)] for who in whole}
    assert sorted(map(tuple, processor.seen)) == sorted((w, n) for w in whole for n in range(50))


def test_others_run_while_one_greenlet_sends_in_a_loop(endpoint):
    producer = endpoint.producer(confirm=False, delivery_mode=1)
    ticks, count = 0, 5000

    def tick() -> None:
        nonlocal ticks
        while True:
            gevent.sleep(0.001)
            ticks += 1

    ticker = gevent.spawn(tick)
    wait_until(lambda: ticks, SOON)
    ticks = 0
    for number in range(count):
        producer.message_note(number)
    ticker.kill()

    # 5,000 messages are about 1.5 MB; others have their turn after each 64 kB.
    assert ticks >= 10
