"""Exchanges and queues: what exists otherwise, or not at all, and what to do about it."""

from __future__ import annotations

from typing import Any

import pytest
from pika import spec

from postage import green, messaging
from postage.errors import ChannelRefused, TopologyMismatch
from postage.generic_application import GenericApplication, GenericApplicationExchange
from postage.testing.polling import wait_until
from tests.support.attempts import outcomes, spawned
from tests.support.endpoints import Endpoint, exchange
from tests.support.method_recorder import recording_methods
from tests.support.proxy import Proxy
from tests.support.raw import Raw, listen, take
from tests.support.running import SOON, running
from tests.support.stopwatch import Stopwatch
from tests.support.undisturbed import Bystander, Undisturbed

pytestmark = [
    pytest.mark.transient_queues,
    pytest.mark.usefixtures("quick_restoring", "broker_env"),
]

#: What a queue was made with, what we declare, the flag, and both sides as the error tells them.
QUEUES = {
    "durable": ({"durable": False}, {}, "durable", "true", "false"),
    "transient": ({"durable": True}, {"durable": False}, "durable", "false", "true"),
    "auto_delete": ({}, {"auto_delete": True}, "auto_delete", "true", "false"),
    "a ttl that differs": (
        {"arguments": {"x-message-ttl": 5000}},
        {"arguments": {"x-message-ttl": 6000}},
        *("x-message-ttl", "6000", "5000"),
    ),
    "a ttl that we lack": (
        {"arguments": {"x-message-ttl": 5000}},
        {},
        *("x-message-ttl", "none", "5000"),
    ),
    "a ttl that they lack": (
        {},
        {"arguments": {"x-message-ttl": 5000}},
        *("x-message-ttl", "5000", "none"),
    ),
    "dead letters": (
        {"arguments": {"x-dead-letter-exchange": "one"}},
        {"arguments": {"x-dead-letter-exchange": "other"}},
        *("x-dead-letter-exchange", "other", "one"),
    ),
    "a quorum queue that is a classic one": (
        {},
        {"arguments": {"x-queue-type": "quorum"}},
        *("x-queue-type", "quorum", "classic"),
    ),
    "a classic queue that is a quorum one": (
        {"arguments": {"x-queue-type": "quorum"}},
        {},
        *("x-queue-type", "classic", "quorum"),
    ),
    "priorities": (
        {"arguments": {"x-max-priority": 5}},
        {"arguments": {"x-max-priority": 9}},
        *("x-max-priority", "9", "5"),
    ),
}
EXCHANGES = {
    "type": ({"exchange_type": "fanout"}, {}, "type", "direct", "fanout"),
    "durable": ({"durable": False}, {}, "durable", "true", "false"),
    "transient": ({}, {"durable": False}, "durable", "false", "true"),
    "auto_delete": ({}, {"auto_delete": True}, "auto_delete", "true", "false"),
    "an alternate exchange that differs": (
        {"arguments": {"alternate-exchange": "one"}},
        {"arguments": {"alternate-exchange": "other"}},
        *("alternate-exchange", "other", "one"),
    ),
    "an alternate exchange that they lack": (
        {},
        {"arguments": {"alternate-exchange": "other"}},
        *("alternate-exchange", "other", "none"),
    ),
}


@pytest.mark.parametrize("case", QUEUES)
@pytest.mark.parametrize("kind", [messaging.GenericConsumer, messaging.MessageProcessor])
def test_a_queue_that_exists_otherwise(endpoint: Endpoint, raw: Raw, case: str, kind: Any) -> None:
    made, declared, flag, ours, theirs = QUEUES[case]
    raw.declare(endpoint.queue, **made)
    eqk = endpoint.at(({"name": endpoint.queue, "flags": declared}, endpoint.key))

    with Undisturbed(endpoint), pytest.raises(TopologyMismatch) as caught:
        kind(eqk=eqk) if kind is messaging.GenericConsumer else kind({}, eqk)

    error = caught.value
    assert (error.kind, error.name, error.flag) == ("queue", endpoint.queue, flag)
    assert says(error.ours) == says(ours)
    assert says(error.theirs) == says(theirs)
    for words in (repr(endpoint.queue), flag, error.ours, error.theirs):
        assert words in str(error)
    remedy = {"name": endpoint.queue, "flags": {"passive": True}}
    assert repr(remedy).replace("'", '"') in str(error).replace("'", '"')
    messaging.GenericConsumer(endpoint.at((remedy, endpoint.key)))


@pytest.mark.parametrize("case", EXCHANGES)
@pytest.mark.parametrize("who", ["producer", "consumer", "_eks"])
def test_an_exchange_that_exists_otherwise(
    endpoint: Endpoint, raw: Raw, case: str, who: str
) -> None:
    made, declared, flag, ours, theirs = EXCHANGES[case]
    known = {"exchange_type": "direct", "durable": True, **made}
    raw.channel.exchange_declare(endpoint.exchange.name, **known)
    wrong = exchange(endpoint.exchange.name, **declared)

    def use(used: Any) -> None:
        if who == "producer":
            endpoint.producer(eks=[(used, "rk")])
        elif who == "_eks":
            Endpoint(endpoint.sub("x")).producer().message_hello(_eks=[(used, "rk")])
        else:
            messaging.GenericConsumer([(used, [(endpoint.queue, "rk")])])

    with Undisturbed(endpoint), pytest.raises(TopologyMismatch) as caught:
        use(wrong)

    error = caught.value
    assert (error.kind, error.name, error.flag) == ("exchange", endpoint.exchange.name, flag)
    assert (says(error.ours), says(error.theirs)) == (says(ours), says(theirs))
    assert "passive = True in the exchange class" in str(error)
    use(exchange(endpoint.exchange.name, passive=True))


def says(told: str) -> str:
    """Return what a side of a mismatch comes to: a queue without a type is a classic one."""
    return "classic" if told == "none" else told


# --- passive, and missing


@pytest.mark.parametrize("who", ["producer", "consumer", "_eks"])
def test_a_passive_exchange_that_does_not_exist(endpoint: Endpoint, raw: Raw, who: str) -> None:
    passive = exchange(endpoint.exchange.name, passive=True)

    def use() -> None:
        if who == "producer":
            endpoint.producer(eks=[(passive, "rk")])
        elif who == "_eks":
            Endpoint(endpoint.sub("x")).producer().message_hello(_eks=[(passive, "rk")])
        else:
            messaging.GenericConsumer([(passive, [(endpoint.queue, "rk")])])

    watch = Stopwatch()
    with Undisturbed(endpoint), pytest.raises(TopologyMismatch) as caught:
        use()

    assert watch.own < SOON, "not for the whole publish_timeout"
    error = caught.value
    assert (error.code, error.kind, error.name) == (404, "exchange", endpoint.exchange.name)
    assert (error.flag, error.ours, error.theirs) == ("passive", "true", "missing")
    assert "does not exist (404)" in str(error)
    assert "leave passive out of the exchange class" in str(error)
    raw.channel.exchange_declare(endpoint.exchange.name, "direct")
    use()


def test_a_passive_queue_that_does_not_exist(endpoint: Endpoint, raw: Raw) -> None:
    eqk = endpoint.at(({"name": endpoint.queue, "flags": {"passive": True}}, endpoint.key))

    with (
        Undisturbed(endpoint),
        pytest.raises(TopologyMismatch, match="does not exist") as caught,
    ):
        messaging.GenericConsumer(eqk)

    error = caught.value
    assert (error.code, error.kind, error.name) == (404, "queue", endpoint.queue)
    assert "leave passive out of the flags of the queue" in str(error)
    assert isinstance(error, ChannelRefused)
    raw.declare(endpoint.queue)
    messaging.GenericConsumer(eqk)


def test_sending_to_a_deleted_passive_exchange_is_an_error(endpoint: Endpoint, raw: Raw) -> None:
    raw.channel.exchange_declare(endpoint.exchange.name, "direct")
    passive = exchange(endpoint.exchange.name, passive=True)
    producer = endpoint.producer(eks=[(passive, "rk")])
    other = Endpoint(endpoint.sub("other")).producer()
    producer.message_hello()
    raw.channel.exchange_delete(endpoint.exchange.name)

    runs = [spawned(each.message_hello) for each in (producer, other, producer, other)]
    results = outcomes(runs, SOON)

    assert [type(result) for result in results[::2]] == [TopologyMismatch] * 2
    assert results[1::2] == [None, None]


# --- after a reconnect


@pytest.mark.parametrize("what", ["queue", "exchange"])
def test_a_queue_redeclared_during_the_loss_ends_the_processor(
    endpoint: Endpoint, raw: Raw, broker_env: Any, what: str
) -> None:
    with Proxy(broker_env.port) as proxy:
        processor = Bystander({}, endpoint.eqk, {**broker_env.hup, "port": proxy.port})
        run = spawned(processor.start_consuming)
        wait_until(lambda: processor.consumer.consuming, SOON)
        proxy.refuse()
        proxy.cut()
        if what == "queue":
            raw.channel.queue_delete(endpoint.queue)
            raw.declare(endpoint.queue, arguments={"x-message-ttl": 5000})
        else:
            raw.channel.exchange_delete(endpoint.exchange.name)
            raw.channel.exchange_declare(endpoint.exchange.name, "fanout", durable=True)
        with Undisturbed(endpoint):  # another connection to the same broker
            proxy.accept()
            [error] = outcomes([run], SOON)
        green.close(1.0)

    assert isinstance(error, TopologyMismatch)
    assert (error.kind, error.name) == (what, endpoint.queue)


# --- quorum queues


QUORUM = {"arguments": {"x-queue-type": "quorum"}}


def quorum(endpoint: Endpoint, **more: Any) -> Any:
    """Return the eqk of a quorum queue."""
    flags = {"arguments": {**QUORUM["arguments"], **more}}
    return endpoint.at(({"name": endpoint.queue, "flags": flags}, endpoint.key))


class Worker(Bystander):
    """Keeps what it handles; rejects what is ``bad``."""

    concurrency = 5

    def __init__(self, *args: Any) -> None:
        self.got: list[Any] = []
        super().__init__(*args)

    @messaging.MessageHandler("command", "work")
    def work(self, content: Any) -> None:
        self.got.append(content["parameters"])
        if content["parameters"] == "bad":
            raise messaging.RejectMessage


def test_a_processor_on_a_quorum_queue(endpoint: Endpoint, raw: Raw) -> None:
    dead = listen(raw, exchange(endpoint.sub("dead"), "fanout"), "")
    worker = Worker({}, quorum(endpoint, **{"x-dead-letter-exchange": endpoint.sub("dead")}))
    producer = endpoint.producer(mandatory=True)

    with running(worker):
        runs = [spawned(producer.message_work, number) for number in range(100)]
        assert outcomes(runs, SOON) == [None] * 100
        producer.message_work("bad")
        assert producer.rpc_echo("x").value == "x"
        wait_until(lambda: len(worker.got) == 101, SOON)

    assert take(raw, dead)["content"] == {"parameters": "bad"}
    assert raw.count(endpoint.queue) == 0
    classic = {"arguments": {"x-dead-letter-exchange": endpoint.sub("dead")}}
    with pytest.raises(TopologyMismatch) as caught:
        messaging.GenericConsumer(endpoint.at(({"name": endpoint.queue, "flags": classic}, "rk")))
    assert caught.value.flag == "x-queue-type", "it is one indeed"


def test_a_quorum_queue_gets_unsettled_messages_back(endpoint: Endpoint, raw: Raw) -> None:
    consumer = messaging.GenericConsumer(quorum(endpoint))
    endpoint.producer().message_hello("x")
    seen: list[Any] = []

    def look(_channel: Any, method: Any, _header: Any, _body: bytes) -> None:
        seen.append(method.redelivered)
        if len(seen) == 2:
            consumer.ack(method)
            consumer.stop_consuming()
        else:
            consumer.reject(method, requeue=True)

    assert outcomes([spawned(consumer.start_consuming, look)], SOON) == [None]
    assert seen == [False, True]
    assert raw.count(endpoint.queue) == 0


# --- what RabbitMQ 4 refuses


def test_rabbitmq_4_accepts_all_default_declarations(endpoint: Endpoint, broker_env: Any) -> None:
    """No transient queue that is shared, and no prefetch for a whole channel."""
    with recording_methods(broker_env.port) as recorder:
        use_everything(endpoint, {**broker_env.hup, "port": recorder.port})
        green.close(1.0)

    declared, limited = recorder.of(spec.Queue.Declare), recorder.of(spec.Basic.Qos)
    assert len(declared) >= 8
    assert len(limited) >= 4
    assert [each for each in declared if not (each.durable or each.exclusive)] == []
    assert [each for each in limited if each.global_qos] == []
    deprecated = {"x-ha-policy", "x-queue-master-locator", "x-queue-mode"}
    assert not any(deprecated & (each.arguments or {}).keys() for each in declared)


def use_everything(endpoint: Endpoint, hup: Any) -> None:
    """Run an application, a processor and a consumer, and use them in all ways."""
    name = endpoint.queue[:40]
    application = GenericApplication({"name": name}, None, [("group")], hup)
    worker, consumer = (
        Worker({}, endpoint.eqk, hup),
        messaging.GenericConsumer(endpoint.at((endpoint.sub("classic"), "classic")), hup),
    )
    to_application = [(GenericApplicationExchange, name)]
    producer = type("Producer", (messaging.GenericProducer,), {"eks": endpoint.eks})(hup=hup)
    collected: list[Any] = []
    classic = spawned(consumer.start_consuming, lambda *what: collected.append(what[1].ack()))

    with running(application, worker):
        assert producer.rpc_ping(_eks=to_application)
        producer.message_join_group({"group_name": "late"}, _eks=to_application)
        producer.message_leave_group({"group_name": "group"}, _eks=to_application)
        for number in range(2):
            assert producer.rpc_echo(number).value == number
        [reply] = producer.consume_rpc(producer.rpc_queue_echo("later"), timeout=SOON)
        assert reply.value == "later"
        producer.message_work(1)
        producer.message_work(1, _key="classic")
        wait_until(lambda: worker.got and collected, SOON)
    consumer.stop_consuming()
    assert outcomes([classic], SOON) == [None]
