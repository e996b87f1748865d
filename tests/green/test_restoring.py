"""Consumers after a lost connection: declared anew, consumed again, or ended as they were told."""

from __future__ import annotations

from typing import Any

import gevent
import gevent.event
import pytest

from postage import green, messaging
from postage.errors import ConnectionClosed
from postage.generic_application import GenericApplication
from postage.testing.polling import wait_until
from tests.support.endpoints import Endpoint
from tests.support.proxy import Proxy
from tests.support.raw import Raw
from tests.support.recovery import OneByOne, error_of, run_to_end, wait_for_recovery, worker
from tests.support.running import SOON, consuming, running
from tests.support.stopwatch import Stopwatch

pytestmark = pytest.mark.usefixtures("broker_env")


@pytest.mark.parametrize("how", ["cut at once", "down for a while"])
def test_a_processor_consumes_again_after_a_lost_connection(
    endpoint: Endpoint, hup: Any, proxy: Proxy, how: str
) -> None:
    processor = worker(endpoint, hup)
    producer = endpoint.producer()
    with running(processor):
        assert producer.rpc_echo("before").value == "before"
        if how == "down for a while":
            proxy.refuse()
        assert proxy.cut()
        wait_until(lambda: not processor.consumer.consuming, SOON)
        assert "waiting for the broker" in repr(processor.consumer)
        proxy.accept()
        wait_for_recovery(processor)
        assert producer.rpc_echo("after").value == "after"
        assert processor.consumer.consuming

    assert (processor.counts["lost"], processor.counts["restored"]) == (1, 1)


def test_the_classic_loop_consumes_again(endpoint: Endpoint, hup: Any, proxy: Proxy) -> None:
    consumer = messaging.GenericConsumer(endpoint.eqk, hup)
    with consuming(consumer) as got:
        for number in range(3):
            endpoint.producer().message_hello(number)
            wait_until(lambda n=number: n in contents(consumer, got), SOON)
            proxy.cut()
            wait_until(lambda n=number: consumer.counts["restored"] == n + 1, SOON)

    assert set(contents(consumer, got)) == {0, 1, 2}


def contents(consumer: Any, got: list[Any]) -> list[Any]:
    """Return the parameters of the messages that *consumer* got; some may have come twice."""
    return [consumer.decode(body)["content"]["parameters"] for *_, body in got]


def test_running_handlers_finish_and_waiting_ones_run_once(
    endpoint: Endpoint, hup: Any, proxy: Proxy, raw: Raw
) -> None:
    processor = worker(endpoint, hup, OneByOne)
    producer = endpoint.producer()
    for number in range(5):
        producer.message_work(number)
    with running(processor):
        wait_until(lambda: processor.begun == [0], SOON)
        wait_until(lambda: "4 waiting" in repr(processor), SOON)
        proxy.cut()
        wait_for_recovery(processor)
        processor.gate.set()
        wait_until(lambda: len(processor.ended) == 6, SOON)
        wait_until(lambda: processor.counts["handled"] == 6, SOON)

    assert processor.begun == [0, 0, 1, 2, 3, 4]
    assert processor.counts["stale"] == 4
    assert processor.counts["stale_acks"] == 1
    assert raw.count(endpoint.queue) == 0


def test_in_the_classic_loop_what_waits_is_not_begun_twice(
    endpoint: Endpoint, hup: Any, proxy: Proxy, raw: Raw
) -> None:
    consumer = messaging.GenericConsumer(endpoint.eqk, hup)
    consumer.prefetch = 10
    got: list[Any] = []
    gate = gevent.event.Event()

    def callback(_channel: Any, method: Any, _header: Any, body: bytes) -> None:
        got.append(consumer.decode(body)["content"]["parameters"])
        gate.wait()
        consumer.ack(method)

    for number in range(5):
        endpoint.producer().message_hello(number)
    run = gevent.spawn(consumer.start_consuming, callback)
    wait_until(lambda: got == [0], SOON)
    wait_until(lambda: raw.count(endpoint.queue) == 0, SOON)
    proxy.cut()
    wait_until(lambda: consumer.counts["restored"] == 1, SOON)
    gate.set()
    wait_until(lambda: got == [0, 0, 1, 2, 3, 4], SOON)
    consumer.stop_consuming()
    run.get(timeout=SOON)

    assert raw.count(endpoint.queue) == 0


def test_a_queue_that_ended_with_the_connection_is_made_anew(
    endpoint: Endpoint, hup: Any, proxy: Proxy
) -> None:
    own = {"name": endpoint.sub("own"), "flags": {"exclusive": True, "auto_delete": True}}
    nameless = {"name": "", "flags": {"exclusive": True}}
    bindings = endpoint.at((nameless, "nameless"), (own, "own"), (own, "more"))
    processor = worker(endpoint, hup, eqk=bindings)
    producer = endpoint.producer()
    keys = ("nameless", "own", "more")
    with running(processor):
        assert [producer.rpc_echo(1, _key=key).value for key in keys] == [1, 1, 1]
        before = dict(processor.consumer.qk_list)
        proxy.cut()
        wait_for_recovery(processor)
        assert [producer.rpc_echo(2, _key=key).value for key in keys] == [2, 2, 2]
        after = dict(processor.consumer.qk_list)

    assert len(before) == len(after) == 2
    assert endpoint.sub("own") in before.keys() & after.keys()
    assert before != after, "the broker has given the nameless one another name"


def test_what_was_joined_is_restored_and_what_was_left_is_not(
    endpoint: Endpoint, hup: Any, proxy: Proxy, raw: Raw
) -> None:
    own = {"name": endpoint.sub("own"), "flags": {"exclusive": True}}
    processor = worker(endpoint, hup, eqk=endpoint.at((own, "kept"), (own, "unbound")))
    producer = endpoint.producer()
    with running(processor):
        processor.add_eqk(
            endpoint.at((endpoint.sub("joined"), "joined"), (endpoint.sub("left"), "left"))
        )
        processor.consumer.queue_unbind(endpoint.exchange, own, "unbound")
        processor.consumer.cancel(endpoint.sub("left"))
        proxy.cut()
        wait_for_recovery(processor)
        assert [producer.rpc_echo(1, _key=key).value for key in ("kept", "joined")] == [1, 1]
        assert producer.rpc_echo(1, _key="unbound").value == "NoRoute"
        assert raw.consumers(endpoint.sub("left")) == 0


def test_a_queue_added_during_the_loss_is_consumed_after_it(
    endpoint: Endpoint, hup: Any, proxy: Proxy
) -> None:
    processor = worker(endpoint, hup)
    with running(processor):
        proxy.refuse()
        proxy.cut()
        wait_until(lambda: not processor.consumer.consuming, SOON)
        joining = gevent.spawn(processor.add_eqk, endpoint.at((endpoint.sub("joined"), "joined")))
        gevent.idle()
        proxy.accept()
        joining.get(timeout=SOON)
        wait_for_recovery(processor)
        wait_until(lambda: processor.consumer.consuming, SOON)
        assert endpoint.producer().rpc_echo(1, _key="joined").value == 1


def test_groups_of_generic_applications_are_restored(
    endpoint: Endpoint, hup: Any, proxy: Proxy, broker_env: Any
) -> None:
    class Application(GenericApplication):
        exchange_class = endpoint.exchange

    application = Application({"name": endpoint.queue[:40]}, broker_env.vhost, ["first"], hup)
    name = application.address.name
    keys = [name, f"{name}/rr", f"{name}#second", f"{name}#second/rr"]
    producer = endpoint.producer()
    with running(application):
        producer.message_join_group({"group_name": "second"}, _key=name)
        producer.message_leave_group({"group_name": "first"}, _key=name)
        wait_until(lambda: application.counts["handled"] == 2, SOON)
        assert application.groups == ["second"]
        proxy.cut()
        wait_for_recovery(application)
        answers = [producer.rpc_ping(_key=key) for key in keys]
        assert [each.value["name"] for each in answers] == [name] * 4
        assert producer.rpc_ping(_key=f"{name}#first").value == "NoRoute"


@pytest.mark.slow
def test_two_hundred_processors_are_restored_together(
    endpoint: Endpoint, hup: Any, proxy: Proxy
) -> None:
    keys = [f"key{number}" for number in range(200)]
    processors = [worker(endpoint, hup, eqk=endpoint.at((endpoint.sub(key), key))) for key in keys]
    producer = endpoint.producer()
    with running(*processors):
        proxy.cut()
        watch = Stopwatch()
        wait_until(lambda: all(each.counts["restored"] for each in processors), SOON)
        took = watch.own
        calls = [gevent.spawn(producer.rpc_echo, key, _key=key) for key in keys]
        gevent.joinall(calls, timeout=SOON)

    assert [call.get(block=False).value for call in calls] == keys
    assert took < 4, "their round trips overlap"


# --- told to stop meanwhile


def test_a_processor_ends_during_the_loss_when_told_to(
    endpoint: Endpoint, hup: Any, proxy: Proxy
) -> None:
    processor = worker(endpoint, hup)
    run = gevent.spawn(green.run, processor)
    wait_until(lambda: processor.consumer.consuming, SOON)
    proxy.refuse()
    proxy.cut()
    wait_until(lambda: not processor.consumer.consuming, SOON)

    processor.stop_consuming()
    watch = Stopwatch()
    run.get(timeout=SOON)

    assert watch.own < 0.5


def test_the_classic_loop_ends_during_the_loss_when_told_to(
    endpoint: Endpoint, hup: Any, proxy: Proxy
) -> None:
    consumer = messaging.GenericConsumer(endpoint.eqk, hup)
    run = gevent.spawn(consumer.start_consuming, print)
    wait_until(lambda: consumer.consuming, SOON)
    proxy.refuse()
    proxy.cut()
    wait_until(lambda: not consumer.consuming, SOON)

    consumer.stop_consuming()
    watch = Stopwatch()
    run.get(timeout=SOON)

    assert watch.own < 0.5


@pytest.mark.parametrize("outage", [False, True], ids=["connected", "during a loss"])
def test_our_own_close_ends_a_processor(
    endpoint: Endpoint, hup: Any, proxy: Proxy, outage: bool
) -> None:
    processor = worker(endpoint, hup)
    run = gevent.spawn(run_to_end, processor)
    wait_until(lambda: processor.consumer.consuming, SOON)
    if outage:
        proxy.refuse()
        proxy.cut()
        wait_until(lambda: not processor.consumer.consuming, SOON)

    green.close(1.0)

    assert isinstance(error_of(run), ConnectionClosed)
    assert processor.counts["restored"] == 0
