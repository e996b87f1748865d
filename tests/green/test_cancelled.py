"""Consumers and channels that the broker ends are restored, or end the run with an error."""

from __future__ import annotations

import time
from typing import Any

import gevent
import pika.exceptions
import pytest

from postage.errors import ChannelRefused, ConsumerCancelled, TopologyMismatch
from postage.green import runtime as runtime_module
from postage.testing.polling import wait_until
from tests.support.endpoints import Endpoint
from tests.support.proxy import Proxy
from tests.support.raw import Raw
from tests.support.recovery import (
    OneByOne,
    error_of,
    fail_channel,
    run_to_end,
    wait_for_recovery,
    worker,
)
from tests.support.running import SOON, running

pytestmark = pytest.mark.usefixtures("quick_restoring", "broker_env")


def consumer_tags(processor: Any, producer: Any, *keys: str) -> list[str]:
    """Return the tags of the consumers that get the messages with *keys*."""
    deliveries = processor.consumer.deliveries
    deliveries.clear()
    assert [producer.rpc_echo(key, _key=key).value for key in keys] == list(keys)
    return [delivery.consumer_tag for delivery in deliveries]


@pytest.mark.behaviour("consumer-operations")
def test_a_queue_that_somebody_deletes_is_made_anew(
    endpoint: Endpoint, raw: Raw, caplog: Any, hup: Any
) -> None:
    processor = worker(
        endpoint, hup, eqk=endpoint.at((endpoint.queue, "a"), (endpoint.sub("other"), "b"))
    )
    producer = endpoint.producer()
    with running(processor):
        before = consumer_tags(processor, producer, "a", "b")
        raw.channel.queue_delete(endpoint.queue)
        wait_for_recovery(processor)
        after = consumer_tags(processor, producer, "a", "b")

    assert after[0] != before[0]
    assert after[1] == before[1], "the other consumer continues"
    assert (processor.counts["cancelled"], processor.counts["lost"]) == (1, 0)
    (record,) = [r for r in caplog.records if "ended the consumer" in r.getMessage()]
    assert record.levelname == "WARNING"
    assert repr(endpoint.queue) in record.getMessage()


def test_what_waits_is_handled_although_its_queue_is_deleted(
    endpoint: Endpoint, raw: Raw, hup: Any
) -> None:
    """Nothing of it would come again, unlike after the consumer timeout of RabbitMQ 4.3."""
    processor = worker(endpoint, hup, OneByOne)
    producer = endpoint.producer()
    for number in range(5):
        producer.message_work(number)
    with running(processor):
        wait_until(lambda: "4 waiting" in repr(processor), SOON)
        raw.channel.queue_delete(endpoint.queue)
        wait_for_recovery(processor)
        processor.gate.set()
        wait_until(lambda: len(processor.ended) == 5, SOON)

    assert (processor.begun, processor.counts["stale"]) == ([0, 1, 2, 3, 4], 0)


@pytest.mark.behaviour("consumer-operations")
def test_a_deleted_exchange_and_its_queue_are_redeclared(
    endpoint: Endpoint, raw: Raw, hup: Any
) -> None:
    processor = worker(endpoint, hup)
    with running(processor):
        raw.channel.exchange_delete(endpoint.exchange.name)
        raw.channel.queue_delete(endpoint.queue)
        wait_for_recovery(processor)
        assert endpoint.producer().rpc_echo(1).value == 1


@pytest.mark.behaviour("consumer-operations", "quit-and-restart")
def test_a_deleted_passive_queue_ends_the_run_with_its_name(
    endpoint: Endpoint, raw: Raw, hup: Any
) -> None:
    raw.declare(endpoint.queue)
    as_it_is = {"name": endpoint.queue, "flags": {"passive": True}}
    processor = worker(endpoint, hup, eqk=endpoint.at((as_it_is, "rk")))
    run = gevent.spawn(run_to_end, processor)
    wait_until(lambda: processor.consumer.consuming, SOON)

    raw.channel.queue_delete(endpoint.queue)

    error = error_of(run)
    assert isinstance(error, ChannelRefused)
    assert error.misses(endpoint.queue)
    assert isinstance(error.__cause__, ConsumerCancelled)
    assert error.__cause__.queue == endpoint.queue


def test_what_is_there_otherwise_after_the_loss_ends_the_run(
    endpoint: Endpoint, raw: Raw, hup: Any, proxy: Proxy
) -> None:
    processor = worker(endpoint, hup)
    run = gevent.spawn(run_to_end, processor)
    wait_until(lambda: processor.consumer.consuming, SOON)
    proxy.refuse()
    proxy.cut()
    wait_until(lambda: not processor.consumer.consuming, SOON)
    raw.channel.queue_delete(endpoint.queue)
    raw.declare(endpoint.queue, arguments={"x-max-length": 5})
    proxy.accept()

    error = error_of(run)
    assert isinstance(error, TopologyMismatch)
    assert (error.name, error.flag) == (endpoint.queue, "x-max-length")


def seized(raw: Raw, queue: str) -> bool:
    """Make *queue* another connection's own; tell whether that went well."""
    try:
        raw.declare(queue, exclusive=True)
    except pika.exceptions.ChannelClosedByBroker:
        return False
    return True


def test_a_queue_that_another_holds_after_the_loss_is_waited_for(
    endpoint: Endpoint, raw: Raw, hup: Any, proxy: Proxy
) -> None:
    """This happens when the broker has not noticed yet that our old connection was lost."""
    own = {"name": endpoint.sub("own"), "flags": {"exclusive": True, "durable": True}}
    processor = worker(endpoint, hup, eqk=endpoint.at((endpoint.queue, "rk"), (own, "own")))
    producer = endpoint.producer()
    with running(processor):
        proxy.refuse()
        proxy.cut()
        wait_until(lambda: seized(raw, endpoint.sub("own")), SOON)
        proxy.accept()
        wait_until(lambda: raw.consumers(endpoint.queue) == 1, SOON)
        assert producer.rpc_echo("the other queue").value == "the other queue"
        assert processor.counts["restored"] == 0
        raw.channel.queue_delete(endpoint.sub("own"))
        wait_for_recovery(processor)
        assert producer.rpc_echo(1, _key="own").value == 1


def test_a_channel_that_the_broker_closes_is_replaced(
    endpoint: Endpoint, hup: Any, proxy: Proxy, raw: Raw
) -> None:
    processor = worker(endpoint, hup)
    producer = endpoint.producer()
    with running(processor):
        assert producer.rpc_echo(0).value == 0
        connections = proxy.connections
        producer.message_fail_channel(1)
        wait_until(lambda: processor.begun == [1, 1], SOON)
        assert producer.rpc_echo(1).value == 1
        assert proxy.connections == connections, "the connection is the same"

    assert (processor.counts["lost"], processor.counts["restored"]) == (1, 1)
    assert raw.count(endpoint.queue) == 0


def test_repeated_channel_errors_do_not_loop_without_pause(endpoint: Endpoint, hup: Any) -> None:
    processor = worker(endpoint, hup)
    with running(processor):
        endpoint.producer().message_fail_channel(1_000_000)
        wait_until(lambda: processor.counts["restored"] >= 3, SOON)
        began, restored = time.monotonic(), processor.counts["restored"]
        gevent.sleep(1.0)
        rate = (processor.counts["restored"] - restored) / (time.monotonic() - began)

    assert 0 < rate < 30, "a pause of 0.05 s on average at first, and growing"


# --- the check of all consumers


@pytest.fixture
def watchful(monkeypatch: pytest.MonkeyPatch) -> None:
    """Check the consumers of runtimes that are made from here on more often."""
    monkeypatch.setattr(runtime_module, "CHECK_INTERVAL", 0.05)


def test_a_consumer_whose_end_was_not_reported_is_restored(
    watchful: None, endpoint: Endpoint, hup: Any, raw: Raw, caplog: Any
) -> None:
    processor = worker(
        endpoint, hup, eqk=endpoint.at((endpoint.queue, "a"), (endpoint.sub("other"), "b"))
    )
    with running(processor):
        assert endpoint.producer().rpc_echo(0, _key="a").value == 0
        delivery = processor.consumer.deliveries[-1]
        delivery.channel.cancel_nowait(
            delivery.consumer_tag, drop=True
        )  # the processor does not know
        wait_for_recovery(processor)
        assert endpoint.producer().rpc_echo(1, _key="a").value == 1
        wait_until(lambda: raw.consumers(endpoint.queue) == 1, SOON)
        assert raw.consumers(endpoint.sub("other")) == 1

    assert (processor.counts["missing"], processor.counts["lost"]) == (1, 0)
    assert any("no end was reported" in record.getMessage() for record in caplog.records)


def test_a_channel_whose_end_was_not_reported_is_replaced(
    watchful: None, endpoint: Endpoint, hup: Any
) -> None:
    processor = worker(endpoint, hup)
    with running(processor):
        assert endpoint.producer().rpc_echo(0).value == 0
        channel = processor.consumer.deliveries[-1].channel
        channel.on_end.clear()
        fail_channel(channel)
        wait_for_recovery(processor)
        assert endpoint.producer().rpc_echo(1).value == 1

    assert processor.counts["missing"] == 1


def test_a_check_of_healthy_consumers_finds_nothing(
    watchful: None, endpoint: Endpoint, hup: Any, caplog: Any
) -> None:
    processor = worker(endpoint, hup)
    looks: list[int] = []
    with running(processor):
        check = runtime_module.runtime_of(processor.consumer.settings).consumer_check
        check.add(Looked(looks))
        wait_until(lambda: len(looks) >= 3, SOON)
        assert processor.consumer.consuming

    assert processor.counts["missing"] == 0
    assert len(check) == 1, "the processor has ended, and is no longer checked"


class Looked:
    """Counts its checks, and raises an error in the first one."""

    def __init__(self, looks: list[int]) -> None:
        self._looks = looks

    def check(self) -> None:
        self._looks.append(1)
        if len(self._looks) == 1:
            raise ValueError("on purpose")
