"""A queue about which the broker does not answer holds up no other queue."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import gevent
import pika.exceptions
import pytest
from pika import spec

from postage import green, messaging
from postage.errors import TopologyMismatch
from postage.green.amqp import waiting
from postage.green.amqp.waiting import Gate
from postage.testing.polling import wait_until
from tests.support.deaf_proxy import DeafProxy, deaf_proxy
from tests.support.endpoints import Endpoint, exchange
from tests.support.recovery import pair_of, worker
from tests.support.running import SOON, running
from tests.support.stopwatch import Stopwatch

pytestmark = pytest.mark.usefixtures("broker_env")

LIMIT = 5.0
"""Seconds within which all other queues must be consumed again."""
QUEUE = spec.Queue.Declare, spec.Queue.Bind


@pytest.fixture
def deaf(broker_env: Any) -> Iterator[DeafProxy]:
    with deaf_proxy(broker_env.port) as proxy:
        yield proxy
        green.close(0.1)


@pytest.fixture
def deaf_hup(broker_env: Any, deaf: DeafProxy) -> Any:
    return {**broker_env.hup, "port": deaf.port}


def reports(caplog: Any, queue: str) -> list[str]:
    """Return the warnings that the broker does not answer about *queue*."""
    records = [r for r in caplog.records if r.levelname == "WARNING"]
    texts = [record.getMessage() for record in records]
    return [text for text in texts if "does not answer" in text and repr(queue) in text]


def answers(endpoint: Endpoint, *keys: str) -> Callable[[], bool]:
    """Return a function that tells whether a processor answers at each of *keys*."""
    producer = endpoint.producer(rpc_timeout=0.5)
    return lambda: all(producer.rpc_echo(key, _key=key).value == key for key in keys)


@pytest.mark.parametrize(
    "methods",
    [QUEUE, (spec.Queue.Bind,), (spec.Basic.Consume,)],
    ids=["declare and bind", "bind", "consume"],
)
def test_the_other_queues_of_a_processor_are_consumed(
    endpoint: Endpoint, deaf: DeafProxy, deaf_hup: Any, methods: Any, caplog: Any
) -> None:
    dead = endpoint.sub("dead")
    queues = [(endpoint.sub(key), key) for key in ("a", "dead", "b")]
    processor = worker(endpoint, deaf_hup, eqk=endpoint.at(*queues))
    with running(processor):
        wait_until(lambda: processor.consumer.consuming, SOON)
        deaf.ignore(dead, *methods)
        deaf.cut()
        watch = Stopwatch()
        wait_until(answers(endpoint, "a", "b"), SOON)
        assert watch.own < LIMIT
        wait_until(lambda: reports(caplog, dead), SOON)
        assert not processor.consumer.consuming
        wait_until(answers(endpoint, "a", "b"), SOON)

        deaf.ignored.clear()
        deaf.cut()
        wait_until(lambda: processor.consumer.consuming, SOON)
        assert answers(endpoint, "a", "dead", "b")()

    assert len(reports(caplog, dead)) == 1


def test_an_exchange_without_an_answer_holds_up_no_other(
    endpoint: Endpoint, deaf: DeafProxy, deaf_hup: Any
) -> None:
    dead = exchange(endpoint.sub("dead"))
    eqk = [(dead, [(endpoint.sub("q"), "rk")]), *endpoint.eqk]
    processor = worker(endpoint, deaf_hup, eqk=eqk)
    with running(processor):
        wait_until(lambda: processor.consumer.consuming, SOON)
        deaf.ignore(dead.name, spec.Exchange.Declare)
        deaf.cut()
        watch = Stopwatch()
        wait_until(answers(endpoint, endpoint.key), SOON)
        assert watch.own < LIMIT


@pytest.mark.parametrize("methods", [QUEUE, (spec.Basic.Consume,)], ids=["declare", "consume"])
def test_many_dead_queues_hold_up_no_other_processor(
    endpoint: Endpoint, deaf: DeafProxy, deaf_hup: Any, methods: Any
) -> None:
    names = [endpoint.sub(f"dead-{number}") for number in range(80)]
    with green.pipelined():
        dead = [worker(endpoint, deaf_hup, eqk=endpoint.at((name, name))) for name in names]
    healthy = worker(endpoint, deaf_hup)
    with running(*dead, healthy):
        wait_until(lambda: all(each.consumer.consuming for each in (*dead, healthy)), SOON)
        deaf.ignore(endpoint.sub("dead-"), *methods)
        deaf.cut()
        watch = Stopwatch()
        wait_until(answers(endpoint, endpoint.key), 2 * SOON)
        assert watch.own < LIMIT


def test_no_publish_waits_long_for_a_queue_in_a_pipelined_block(
    endpoint: Endpoint, deaf: DeafProxy, deaf_hup: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("postage.green.amqp.pair.PATIENCE", 0.5)
    dead = endpoint.sub("dead")
    producer = endpoint.producer(hup=deaf_hup, rpc_timeout=SOON)
    server = worker(endpoint, deaf_hup)

    def make() -> None:
        with green.pipelined():
            worker(endpoint, deaf_hup, eqk=endpoint.at((dead, "dead")))

    with running(server):
        assert producer.rpc_echo("warm").value == "warm"
        deaf.ignore(dead, *QUEUE)
        making = gevent.spawn(make)
        wait_until(lambda: pair_of(producer).declaring, SOON)
        watch = Stopwatch()
        producer.message_work(1)
        assert producer.rpc_echo(1).value == 1
        assert watch.own < LIMIT
        assert pair_of(producer).declaring, "the queue still gets no answer"
        making.kill()
        assert not pair_of(producer).declaring, "the block has ended"
        server.gate.set()


def test_a_queue_that_hangs_later_leaves_the_others(
    endpoint: Endpoint, deaf: DeafProxy, deaf_hup: Any, raw: Any
) -> None:
    """The connection stays: the queue is deleted, and its next consumer gets no answer."""
    dead = endpoint.sub("dead")
    processor = worker(endpoint, deaf_hup, eqk=endpoint.at((dead, "dead"), (endpoint.queue, "rk")))
    with running(processor):
        wait_until(lambda: processor.consumer.consuming, SOON)
        deaf.ignore(dead, spec.Basic.Consume)
        raw.channel.queue_delete(dead)
        wait_until(lambda: processor.counts["lost"] == 1, SOON)  # its channel is abandoned
        watch = Stopwatch()
        wait_until(answers(endpoint, "rk"), SOON)
        assert watch.own < LIMIT
        processor.consumer.cancel(dead)
        wait_until(lambda: processor.consumer.consuming, SOON)


# --- the gate


def test_a_place_that_is_held_for_long_no_longer_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "PATIENCE", 0.05)
    gate = Gate(2)
    held = [gate.acquire(), gate.acquire()]
    with gevent.Timeout(SOON), gate.acquire():
        assert gate.overdue >= 1
    for place in held:
        place.release()
    assert gate.overdue == 0


def test_a_released_place_is_free_at_once_and_only_once() -> None:
    gate = Gate(1)
    for _ in range(3):
        with gate.acquire():
            waiting_ = gevent.spawn(gate.acquire)
            gevent.idle()
            assert not waiting_.ready()
            waiting_.kill()
    assert gate.overdue == 0


def test_many_overdue_places_make_the_gate_less_patient() -> None:
    gate = Gate(10)
    assert gate.patience == waiting.PATIENCE
    gate.overdue = 10
    assert gate.patience == waiting.PATIENCE / 2


def test_not_more_places_are_overdue_than_channels_allow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "PATIENCE", 0.01)
    monkeypatch.setattr(waiting, "MOST_OVERDUE", 1)
    gate = Gate(1)
    gate.acquire()
    wait_until(lambda: gate.overdue == 1, SOON)
    gate.acquire()
    with pytest.raises(gevent.Timeout), gevent.Timeout(0.1):
        gate.acquire()


# --- without any permission but to read


def test_a_passive_queue_without_key_is_not_even_bound(endpoint: Endpoint, raw: Any) -> None:
    raw.declare(endpoint.queue)
    as_it_is = {"name": endpoint.queue, "flags": {"passive": True}}
    missing = exchange(endpoint.sub("missing"))
    processor = worker(endpoint, None, eqk=[(missing, [(as_it_is, None)])])
    with running(processor):
        wait_until(lambda: processor.consumer.consuming, SOON)
    assert processor.consumer.bindings == []
    with pytest.raises(pika.exceptions.ChannelClosedByBroker, match="no exchange"):
        raw.channel.exchange_declare(missing.name, passive=True)


def test_another_queue_without_key_is_bound_by_its_name(endpoint: Endpoint) -> None:
    processor = worker(endpoint, None, eqk=endpoint.at((endpoint.queue, None)))
    with running(processor):
        assert endpoint.producer().rpc_echo(1, _key=endpoint.queue).value == 1


def test_a_missing_queue_that_is_used_as_it_is_is_named(endpoint: Endpoint) -> None:
    as_it_is = {"name": endpoint.queue, "flags": {"passive": True}}
    with pytest.raises(TopologyMismatch, match=endpoint.queue):
        messaging.GenericConsumer(endpoint.at((as_it_is, None)))
