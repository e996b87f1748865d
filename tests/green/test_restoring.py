"""Consumers after a lost connection or channel: declared anew, consumed again, or failing aloud."""

from __future__ import annotations

import time
from typing import Any

import gevent
import gevent.event
import pika.exceptions
import pytest

from postage import green, messaging
from postage.errors import ChannelRefused, ConnectionClosed, ConsumerCancelled, TopologyMismatch
from postage.generic_application import GenericApplication
from postage.green import watchdog as watchdog_module
from postage.testing.waiting import wait_until
from tests.faults.proxy import Proxy
from tests.support.places import Place
from tests.support.raw import Raw
from tests.support.running import SOON, consuming, running, value

pytestmark = pytest.mark.usefixtures("broker_env")


def spoil(channel: Any) -> None:
    """Acknowledge what never came: the broker closes the channel over it, and it alone."""
    channel._path.ack(channel._pika, 4711, multiple=False)


class Worker(messaging.MessageProcessor):
    """Keeps what it begins and ends; the ``work`` of messages lasts until the gate is open."""

    def __init__(self, *args: Any, **kwds: Any) -> None:
        self.gate = gevent.event.Event()
        self.begun: list[Any] = []
        self.ended: list[Any] = []
        super().__init__(*args, **kwds)

    @messaging.MessageHandler("command", "work")
    def work(self, content: Any) -> None:
        self.begun.append(content["parameters"])
        self.gate.wait()
        self.ended.append(content["parameters"])

    @messaging.MessageHandler("command", "spoil")
    def spoil(self, content: Any) -> None:
        self.begun.append(content["parameters"])
        if len(self.begun) <= content["parameters"]:
            spoil(self.consumer._listener._channel)  # type: ignore[union-attr]

    @messaging.RpcHandler("command", "echo")
    def echo(self, content: Any, reply: Any) -> None:
        reply(content["parameters"])


class OneByOne(Worker):
    concurrency = 1
    prefetch = 10


@pytest.fixture
def hup(proxy: Proxy, broker_env: Any) -> dict[str, Any]:
    """The way to the broker that leads through the proxy."""
    return {**broker_env.hup, "port": proxy.port}


def worker(place: Place, hup: Any, kind: type[Worker] = Worker, eqk: Any = None) -> Any:
    """Return a processor behind the proxy."""
    return kind({"name": kind.__name__}, place.eqk if eqk is None else eqk, hup)


def wait_for_restore(component: Any, times: int = 1) -> None:
    wait_until(lambda: component.counts["restored"] >= times, SOON, "consuming again")


def failure_of(run: gevent.Greenlet[..., Any]) -> Any:
    """Return what ended *run*."""
    run.join(SOON)
    assert run.dead, "it goes on"
    return run.value


def outcome(processor: Any) -> BaseException | None:
    """Run *processor* and return what ends it."""
    try:
        processor.start_consuming()
    except Exception as exc:
        return exc
    return None


# --- a lost connection


@pytest.mark.parametrize("how", ["cut at once", "down for a while"])
def test_a_processor_consumes_again_after_a_lost_connection(
    place: Place, hup: Any, proxy: Proxy, how: str
) -> None:
    processor = worker(place, hup)
    producer = place.producer()
    with running(processor):
        assert value(producer.rpc_echo("before")) == "before"
        if how == "down for a while":
            proxy.refuse()
        assert proxy.cut()
        wait_until(lambda: not processor.consumer.consuming, SOON)
        assert "waiting for the broker" in repr(processor.consumer)
        proxy.accept()
        wait_for_restore(processor)
        assert value(producer.rpc_echo("after")) == "after"
        assert processor.consumer.consuming

    assert (processor.counts["lost"], processor.counts["restored"]) == (1, 1)


def test_the_classic_loop_consumes_again(place: Place, hup: Any, proxy: Proxy) -> None:
    consumer = messaging.GenericConsumer(place.eqk, hup)
    with consuming(consumer) as got:
        for number in range(3):
            place.producer().message_hello(number)
            wait_until(lambda n=number: n in contents(consumer, got), SOON)
            proxy.cut()
            wait_until(lambda n=number: consumer.counts["restored"] == n + 1, SOON)

    assert set(contents(consumer, got)) == {0, 1, 2}


def contents(consumer: Any, got: list[Any]) -> list[Any]:
    """Return the parameters of the messages that *consumer* got; some may have come twice."""
    return [consumer.decode(body)["content"]["parameters"] for *_, body in got]


def test_what_runs_during_the_loss_finishes_and_what_waits_is_not_begun_twice(
    place: Place, hup: Any, proxy: Proxy, raw: Raw
) -> None:
    processor = worker(place, hup, OneByOne)
    producer = place.producer()
    for number in range(5):
        producer.message_work(number)
    with running(processor):
        wait_until(lambda: processor.begun == [0], SOON)
        wait_until(lambda: "4 waiting" in repr(processor), SOON)
        proxy.cut()
        wait_for_restore(processor)
        processor.gate.set()
        wait_until(lambda: len(processor.ended) == 6, SOON)
        wait_until(lambda: processor.counts["handled"] == 6, SOON)

    assert processor.begun == [0, 0, 1, 2, 3, 4]
    assert processor.counts["stale"] == 4
    assert processor.counts["stale_acks"] == 1
    assert raw.count(place.queue) == 0


def test_in_the_classic_loop_what_waits_is_not_begun_twice(
    place: Place, hup: Any, proxy: Proxy, raw: Raw
) -> None:
    consumer = messaging.GenericConsumer(place.eqk, hup)
    consumer.prefetch = 10
    got: list[Any] = []
    gate = gevent.event.Event()

    def callback(_channel: Any, method: Any, _header: Any, body: bytes) -> None:
        got.append(consumer.decode(body)["content"]["parameters"])
        gate.wait()
        consumer.ack(method)

    for number in range(5):
        place.producer().message_hello(number)
    run = gevent.spawn(consumer.start_consuming, callback)
    wait_until(lambda: got == [0], SOON)
    wait_until(lambda: raw.count(place.queue) == 0, SOON)
    proxy.cut()
    wait_until(lambda: consumer.counts["restored"] == 1, SOON)
    gate.set()
    wait_until(lambda: got == [0, 0, 1, 2, 3, 4], SOON)
    consumer.stop_consuming()
    run.get(timeout=SOON)

    assert raw.count(place.queue) == 0


def test_a_queue_that_ended_with_the_connection_is_made_anew(
    place: Place, hup: Any, proxy: Proxy
) -> None:
    own = {"name": place.sub("own"), "flags": {"exclusive": True, "auto_delete": True}}
    nameless = {"name": "", "flags": {"exclusive": True}}
    bindings = place.at((nameless, "nameless"), (own, "own"), (own, "more"))
    processor = worker(place, hup, eqk=bindings)
    producer = place.producer()
    keys = ("nameless", "own", "more")
    with running(processor):
        assert [value(producer.rpc_echo(1, _key=key)) for key in keys] == [1, 1, 1]
        before = dict(processor.consumer.qk_list)
        proxy.cut()
        wait_for_restore(processor)
        assert [value(producer.rpc_echo(2, _key=key)) for key in keys] == [2, 2, 2]
        after = dict(processor.consumer.qk_list)

    assert len(before) == len(after) == 2
    assert place.sub("own") in before.keys() & after.keys()
    assert before != after, "the broker has given the nameless one another name"


def test_what_was_joined_is_restored_and_what_was_left_is_not(
    place: Place, hup: Any, proxy: Proxy, raw: Raw
) -> None:
    own = {"name": place.sub("own"), "flags": {"exclusive": True}}
    processor = worker(place, hup, eqk=place.at((own, "kept"), (own, "unbound")))
    producer = place.producer()
    with running(processor):
        processor.add_eqk(place.at((place.sub("joined"), "joined"), (place.sub("left"), "left")))
        processor.consumer.queue_unbind(place.exchange, own, "unbound")
        processor.consumer.leave(place.sub("left"))
        proxy.cut()
        wait_for_restore(processor)
        assert [value(producer.rpc_echo(1, _key=key)) for key in ("kept", "joined")] == [1, 1]
        assert value(producer.rpc_echo(1, _key="unbound")) == "NoRoute"
        assert raw.consumers(place.sub("left")) == 0


def test_a_queue_that_is_joined_during_the_loss_is_consumed_after_it(
    place: Place, hup: Any, proxy: Proxy
) -> None:
    processor = worker(place, hup)
    with running(processor):
        proxy.refuse()
        proxy.cut()
        wait_until(lambda: not processor.consumer.consuming, SOON)
        joining = gevent.spawn(processor.add_eqk, place.at((place.sub("joined"), "joined")))
        gevent.idle()
        proxy.accept()
        joining.get(timeout=SOON)
        wait_for_restore(processor)
        wait_until(lambda: processor.consumer.consuming, SOON)
        assert value(place.producer().rpc_echo(1, _key="joined")) == 1


def test_groups_of_generic_applications_are_restored(
    place: Place, hup: Any, proxy: Proxy, broker_env: Any
) -> None:
    class Application(GenericApplication):
        exchange_class = place.exchange

    application = Application({"name": place.queue[:40]}, broker_env.vhost, ["first"], hup)
    name = application.address.name
    keys = [name, f"{name}/rr", f"{name}#second", f"{name}#second/rr"]
    producer = place.producer()
    with running(application):
        producer.message_join_group({"group_name": "second"}, _key=name)
        producer.message_leave_group({"group_name": "first"}, _key=name)
        wait_until(lambda: application.counts["handled"] == 2, SOON)
        assert application.groups == ["second"]
        proxy.cut()
        wait_for_restore(application)
        answers = [producer.rpc_ping(_key=key) for key in keys]
        assert [value(each)["name"] for each in answers] == [name] * 4
        assert value(producer.rpc_ping(_key=f"{name}#first")) == "NoRoute"


@pytest.mark.slow
def test_two_hundred_processors_are_restored_together(place: Place, hup: Any, proxy: Proxy) -> None:
    keys = [f"key{number}" for number in range(200)]
    herd = [worker(place, hup, eqk=place.at((place.sub(key), key))) for key in keys]
    producer = place.producer()
    with running(*herd):
        proxy.cut()
        began = time.monotonic()
        wait_until(lambda: all(each.counts["restored"] for each in herd), SOON)
        took = time.monotonic() - began
        calls = [gevent.spawn(producer.rpc_echo, key, _key=key) for key in keys]
        gevent.joinall(calls, timeout=SOON)

    assert [value(call.get(block=False)) for call in calls] == keys
    assert took < 4, "their round trips overlap"


# --- told to stop meanwhile


def test_a_processor_ends_during_the_loss_when_told_to(
    place: Place, hup: Any, proxy: Proxy
) -> None:
    processor = worker(place, hup)
    run = gevent.spawn(green.run, processor)
    wait_until(lambda: processor.consumer.consuming, SOON)
    proxy.refuse()
    proxy.cut()
    wait_until(lambda: not processor.consumer.consuming, SOON)

    processor.stop_consuming()
    began = time.monotonic()
    run.get(timeout=SOON)

    assert time.monotonic() - began < 0.5


def test_the_classic_loop_ends_during_the_loss_when_told_to(
    place: Place, hup: Any, proxy: Proxy
) -> None:
    consumer = messaging.GenericConsumer(place.eqk, hup)
    run = gevent.spawn(consumer.start_consuming, print)
    wait_until(lambda: consumer.consuming, SOON)
    proxy.refuse()
    proxy.cut()
    wait_until(lambda: not consumer.consuming, SOON)

    consumer.stop_consuming()
    began = time.monotonic()
    run.get(timeout=SOON)

    assert time.monotonic() - began < 0.5


@pytest.mark.parametrize("outage", [False, True], ids=["connected", "during a loss"])
def test_our_own_close_ends_a_processor(place: Place, hup: Any, proxy: Proxy, outage: bool) -> None:
    processor = worker(place, hup)
    run = gevent.spawn(outcome, processor)
    wait_until(lambda: processor.consumer.consuming, SOON)
    if outage:
        proxy.refuse()
        proxy.cut()
        wait_until(lambda: not processor.consumer.consuming, SOON)

    green.close(1.0)

    assert isinstance(failure_of(run), ConnectionClosed)
    assert processor.counts["restored"] == 0


# --- the broker ends a consumer, or a channel


@pytest.mark.row(35)
def test_a_queue_that_somebody_deletes_is_made_anew(
    place: Place, raw: Raw, caplog: Any, hup: Any
) -> None:
    processor = worker(place, hup, eqk=place.at((place.queue, "a"), (place.sub("other"), "b")))
    producer = place.producer()
    with running(processor):
        tags = dict(processor.consumer._listener._tags)
        raw.channel.queue_delete(place.queue)
        wait_for_restore(processor)
        assert value(producer.rpc_echo(1, _key="a")) == 1
        assert value(producer.rpc_echo(2, _key="b")) == 2
        kept = dict(processor.consumer._listener._tags).items() & tags.items()

    assert [queue.name for _, queue in kept] == [place.sub("other")], "it goes on undisturbed"
    assert (processor.counts["cancelled"], processor.counts["lost"]) == (1, 0)
    (record,) = [r for r in caplog.records if "ended the consumer" in r.getMessage()]
    assert record.levelname == "WARNING"
    assert repr(place.queue) in record.getMessage()


@pytest.mark.row(35)
def test_where_an_exchange_is_deleted_with_the_queue_both_are_made_anew(
    place: Place, raw: Raw, hup: Any
) -> None:
    processor = worker(place, hup)
    with running(processor):
        raw.channel.exchange_delete(place.exchange.name)
        raw.channel.queue_delete(place.queue)
        wait_for_restore(processor)
        assert value(place.producer().rpc_echo(1)) == 1


@pytest.mark.row(35, 44)
def test_a_deleted_queue_that_is_not_ours_to_make_ends_the_run_with_an_error_that_names_it(
    place: Place, raw: Raw, hup: Any
) -> None:
    raw.declare(place.queue)
    as_it_is = {"name": place.queue, "flags": {"passive": True}}
    processor = worker(place, hup, eqk=place.at((as_it_is, "rk")))
    run = gevent.spawn(outcome, processor)
    wait_until(lambda: processor.consumer.consuming, SOON)

    raw.channel.queue_delete(place.queue)

    error = failure_of(run)
    assert isinstance(error, ChannelRefused)
    assert error.misses(place.queue)
    assert isinstance(error.__cause__, ConsumerCancelled)
    assert error.__cause__.queue == place.queue


def test_what_is_there_otherwise_after_the_loss_ends_the_run(
    place: Place, raw: Raw, hup: Any, proxy: Proxy
) -> None:
    processor = worker(place, hup)
    run = gevent.spawn(outcome, processor)
    wait_until(lambda: processor.consumer.consuming, SOON)
    proxy.refuse()
    proxy.cut()
    wait_until(lambda: not processor.consumer.consuming, SOON)
    raw.channel.queue_delete(place.queue)
    raw.declare(place.queue, arguments={"x-max-length": 5})
    proxy.accept()

    error = failure_of(run)
    assert isinstance(error, TopologyMismatch)
    assert (error.name, error.flag) == (place.queue, "x-max-length")


def seized(raw: Raw, queue: str) -> bool:
    """Make *queue* another connection's own; tell whether that went well."""
    try:
        raw.declare(queue, exclusive=True)
    except pika.exceptions.ChannelClosedByBroker:
        return False
    return True


def test_a_queue_that_another_holds_after_the_loss_is_waited_for(
    place: Place, raw: Raw, hup: Any, proxy: Proxy
) -> None:
    """So it is when the broker has not noticed yet that our old connection is gone."""
    own = {"name": place.sub("own"), "flags": {"exclusive": True, "durable": True}}
    processor = worker(place, hup, eqk=place.at((place.queue, "rk"), (own, "own")))
    producer = place.producer()
    with running(processor):
        proxy.refuse()
        proxy.cut()
        wait_until(lambda: seized(raw, place.sub("own")), SOON)
        proxy.accept()
        wait_until(lambda: raw.consumers(place.queue) == 1, SOON)
        assert value(producer.rpc_echo("the other queue")) == "the other queue"
        assert processor.counts["restored"] == 0
        raw.channel.queue_delete(place.sub("own"))
        wait_for_restore(processor)
        assert value(producer.rpc_echo(1, _key="own")) == 1


def test_a_channel_that_the_broker_closes_is_replaced(
    place: Place, hup: Any, proxy: Proxy, raw: Raw
) -> None:
    processor = worker(place, hup)
    producer = place.producer()
    with running(processor):
        assert value(producer.rpc_echo(0)) == 0
        links = proxy.links
        producer.message_spoil(1)
        wait_until(lambda: processor.begun == [1, 1], SOON)
        assert value(producer.rpc_echo(1)) == 1
        assert proxy.links == links, "the connection is the same"

    assert (processor.counts["lost"], processor.counts["restored"]) == (1, 1)
    assert raw.count(place.queue) == 0


def test_what_spoils_its_channel_again_and_again_does_not_loop_hot(place: Place, hup: Any) -> None:
    processor = worker(place, hup)
    with running(processor):
        place.producer().message_spoil(1_000_000)
        wait_until(lambda: processor.counts["restored"] >= 3, SOON)
        began, restored = time.monotonic(), processor.counts["restored"]
        gevent.sleep(1.0)
        rate = (processor.counts["restored"] - restored) / (time.monotonic() - began)

    assert 0 < rate < 30, "a pause of 0.05 s on average at first, and growing"


# --- the watchdog


@pytest.fixture
def watchful(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have watchdogs that begin from here on look more often."""
    monkeypatch.setattr(watchdog_module, "EVERY", 0.05)


def test_a_consumer_that_is_gone_without_a_word_is_restored(
    watchful: None, place: Place, hup: Any, raw: Raw, caplog: Any
) -> None:
    processor = worker(place, hup, eqk=place.at((place.queue, "a"), (place.sub("other"), "b")))
    with running(processor):
        listener: Any = processor.consumer._listener
        tag = next(tag for tag, queue in listener._tags.items() if queue.name == place.queue)
        listener._channel.cancel_now(tag)  # behind the back of its owner
        wait_for_restore(processor)
        assert value(place.producer().rpc_echo(1, _key="a")) == 1
        wait_until(lambda: raw.consumers(place.queue) == 1, SOON)
        assert raw.consumers(place.sub("other")) == 1

    assert (processor.counts["amiss"], processor.counts["lost"]) == (1, 0)
    assert any("gone without a word" in record.getMessage() for record in caplog.records)


def test_a_channel_whose_end_was_not_heard_of_is_replaced(
    watchful: None, place: Place, hup: Any
) -> None:
    processor = worker(place, hup)
    with running(processor):
        channel: Any = processor.consumer._listener._channel
        channel.on_end.clear()
        spoil(channel)
        wait_for_restore(processor)
        assert value(place.producer().rpc_echo(1)) == 1

    assert processor.counts["amiss"] == 1


def test_while_all_is_well_the_watchdog_is_silent(
    watchful: None, place: Place, hup: Any, caplog: Any
) -> None:
    processor = worker(place, hup)
    looks: list[int] = []
    with running(processor):
        listener: Any = processor.consumer._listener
        watchdog = listener._pair.companion(watchdog_module.Watchdog)
        watchdog.add(Looked(looks))
        wait_until(lambda: len(looks) >= 3, SOON)
        assert processor.consumer.consuming

    assert processor.counts["amiss"] == 0
    assert len(watchdog._watched) == 1, "who has ended is looked after no more"


class Looked:
    """Notes that it is looked after, and is a nuisance."""

    def __init__(self, looks: list[int]) -> None:
        self._looks = looks

    def check(self) -> None:
        self._looks.append(1)
        if len(self._looks) == 1:
            raise ValueError("on purpose")
