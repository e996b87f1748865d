"""Publishing to a real broker: lost connections, refusals, full queues, no route."""

from __future__ import annotations

from typing import Any

import gevent
import pytest

from postage import green, messaging
from postage.errors import (
    BrokerUnreachable,
    ChannelRefused,
    NoRoute,
    OperationTimeout,
    PublishFailed,
    TopologyMismatch,
)
from postage.green.publishing import publish_confirmed
from postage.green.runtime import runtime_of
from postage.settings import Settings
from postage.testing.polling import wait_until
from tests.support.attempts import outcomes, spawned
from tests.support.endpoints import Endpoint, exchange
from tests.support.proxy import Proxy
from tests.support.publishing import SOON, in_time, message
from tests.support.raw import listen, take, take_all
from tests.support.stopwatch import Stopwatch
from tests.support.waiting import assert_stays


def behind(proxy: Proxy, env: Any, endpoint: Endpoint, **attributes: Any) -> Any:
    """Return a producer behind the *proxy*."""
    kind = type("Producer", (messaging.GenericProducer,), {"eks": endpoint.eks, **attributes})
    return kind(hup={**env.hup, "port": proxy.port})


@pytest.mark.parametrize("confirm", [True, False])
@pytest.mark.parametrize("outage", [0.0, 0.5])
def test_a_producer_goes_on_after_a_lost_connection(
    proxy: Proxy,
    broker_env: Any,
    endpoint: Endpoint,
    raw: Any,
    queue: str,
    outage: float,
    confirm: bool,
) -> None:
    producer = behind(proxy, broker_env, endpoint, confirm=confirm)
    producer.message_before()
    assert take(raw, queue)["name"] == "before"
    if outage:
        proxy.refuse()
    proxy.cut()
    wait_until(lambda: runtime_of(producer.settings).pair.publishing.current is None, SOON)
    run = spawned(producer.message_after)
    gevent.sleep(outage)
    proxy.accept()

    assert outcomes([run], SOON) == [None]
    assert take(raw, queue)["name"] == "after"


def test_under_cuts_every_message_arrives_at_least_once(
    proxy: Proxy, broker_env: Any, endpoint: Endpoint, raw: Any
) -> None:
    producer = behind(proxy, broker_env, endpoint)
    queue = listen(raw, endpoint.exchange, endpoint.key)
    runs = [gevent.spawn(send_many, producer, sender, 40) for sender in range(25)]
    for _ in range(8):
        gevent.sleep(0.1)
        proxy.cut()
    gevent.joinall(runs, timeout=30, raise_error=True)
    assert all(run.dead for run in runs)

    sent = {f"{sender}-{number}" for sender in range(25) for number in range(40)}
    assert runtime_of(producer.settings).pair.publishing.losses > 1
    ids: dict[str, set[str]] = {}
    for _ in range(raw.count(queue)):
        taken = raw.take(queue)
        body = messaging.JsonEncoder.decode(taken.body)
        ids.setdefault(body["content"]["parameters"], set()).add(taken.properties.message_id)
    assert ids.keys() == sent
    assert all(len(known) == 1 for known in ids.values()), "a repeated message has the same id"


def send_many(producer: Any, sender: int, count: int) -> None:
    """Send *count* messages, each after the one before is confirmed."""
    for number in range(count):
        producer.message_hello(f"{sender}-{number}")
        gevent.sleep(0.02)


def test_a_broker_that_stays_away_is_an_error_at_the_limit(
    proxy: Proxy, broker_env: Any, endpoint: Endpoint
) -> None:
    producer = behind(proxy, broker_env, endpoint, publish_timeout=1.0)
    producer.message_before()
    proxy.refuse()
    proxy.cut()
    wait_until(lambda: runtime_of(producer.settings).pair.publishing.current is None, SOON)
    watch = Stopwatch()
    [error] = in_time([spawned(producer.message_after)], 1.0, watch)

    assert type(error) is PublishFailed
    assert isinstance(error.__cause__, BrokerUnreachable)
    assert (error.exchange, error.key) == (endpoint.exchange.name, "rk")
    assert "longer publish_timeout" in str(error)


def test_a_half_open_connection_is_an_error_at_the_limit(
    proxy: Proxy, broker_env: Any, endpoint: Endpoint
) -> None:
    producer = behind(proxy, broker_env, endpoint, publish_timeout=1.0)
    producer.message_before()
    proxy.half_open()
    watch = Stopwatch()
    errors = in_time([spawned(producer.message_after) for _ in range(50)], 1.0, watch)

    assert {type(error) for error in errors} == {PublishFailed}
    assert {type(error.__cause__) for error in errors} == {OperationTimeout}


def test_a_forbidden_publish_fails_at_once_and_alone(broker_env: Any, endpoint: Endpoint) -> None:
    pair = runtime_of(Settings.resolve()).pair
    forbidden = exchange(endpoint.sub("internal"))
    connection = pair.publishing.get()
    with connection.lease() as channel:
        channel.exchange_declare(**{**forbidden.parameters, "internal": True})
    # As if others had declared it: no client may publish to an internal exchange.
    connection.declare(endpoint.exchange)
    connection.declared.add(forbidden)
    connection.discard_declaration(endpoint.exchange)
    watch = Stopwatch()
    refused, *others = outcomes(
        [
            spawned(publish_confirmed, pair, message(number, to), limit=5)
            for number, to in enumerate((forbidden, *[endpoint.exchange] * 20))
        ],
        SOON,
    )

    assert (type(refused), refused.code) == (ChannelRefused, 403)
    assert others == [None] * 20
    assert watch.own < 2


def test_a_forbidden_topic_affects_no_other_publisher(
    rabbitmq: Any, broker_env: Any, endpoint: Endpoint
) -> None:
    topic = exchange(endpoint.sub("topic"), "topic")
    pair = runtime_of(Settings.resolve()).pair
    permissions = ("set_topic_permissions", "--vhost", broker_env.vhost, "guest", topic.name)
    connection = pair.publishing.get()
    connection.declare(topic)
    rabbitmq.ctl(*permissions, "^rk$", ".*")
    wrong = message(0, topic)._replace(key="secret")
    refused, *others = outcomes(
        [
            spawned(publish_confirmed, pair, each, limit=5)
            for each in (wrong, *(message(number, topic) for number in range(20)))
        ],
        SOON,
    )

    assert (type(refused), refused.code) == (ChannelRefused, 403)
    assert others == [None] * 20


def test_an_exchange_redeclared_differently_fails_at_once(
    proxy: Proxy, broker_env: Any, endpoint: Endpoint, raw: Any
) -> None:
    producer = behind(proxy, broker_env, endpoint)
    producer.message_before()
    raw.channel.exchange_delete(endpoint.exchange.name)
    raw.channel.exchange_declare(endpoint.exchange.name, "fanout", durable=True)
    proxy.cut()
    wait_until(lambda: runtime_of(producer.settings).pair.publishing.current is None, SOON)
    watch = Stopwatch()

    with pytest.raises(TopologyMismatch) as caught:
        producer.message_after()

    assert watch.own < 2
    assert (caught.value.flag, caught.value.ours, caught.value.theirs) == (
        "type",
        "direct",
        "fanout",
    )


def test_a_full_queue_takes_it_when_there_is_room(endpoint: Endpoint, raw: Any) -> None:
    full = {"x-max-length": 1, "x-overflow": "reject-publish"}
    messaging.GenericConsumer(
        endpoint.at(({"name": endpoint.queue, "flags": {"arguments": full}}, "rk"))
    )
    producer = endpoint.producer()
    producer.message_first()
    run = spawned(producer.message_second)
    assert_stays(lambda: not run.dead, 0.2)
    assert take(raw, endpoint.queue)["name"] == "first"

    assert outcomes([run], SOON) == [None]
    assert take(raw, endpoint.queue)["name"] == "second"


# --- mandatory


def test_a_mandatory_message_without_a_route_is_an_error(
    endpoint: Endpoint, raw: Any, queue: str
) -> None:
    producer = endpoint.producer(mandatory=True)

    with pytest.raises(NoRoute, match="start its receiver") as caught:
        producer.message_hello(_key="nobody")

    assert (caught.value.exchange, caught.value.key) == (endpoint.exchange.name, "nobody")
    producer.message_hello()
    assert take(raw, queue)["name"] == "hello"


def test_an_unmandatory_message_without_a_route_is_no_error(endpoint: Endpoint) -> None:
    endpoint.producer().message_hello(_key="nobody")


@pytest.mark.parametrize("turn", range(3))
def test_only_the_messages_without_a_route_fail(
    endpoint: Endpoint, raw: Any, queue: str, turn: int
) -> None:
    producer, lenient = endpoint.producer(mandatory=True), endpoint.producer()
    for each in (producer, lenient):
        each.message_first()
    take_all(raw, queue, 2)
    keys = [("rk", "nobody", "nowhere")[number % 3] for number in range(300)]
    runs = [spawned(producer.message_hello, n, _key=key) for n, key in enumerate(keys)]
    runs += [spawned(lenient.message_hello, n, _key=key) for n, key in enumerate(keys)]
    results = outcomes(runs, SOON)

    told = [result and (type(result), result.key) for result in results[:300]]
    assert told == [None if key == "rk" else (NoRoute, key) for key in keys]
    assert results[300:] == [None] * 300
    assert len(take_all(raw, queue, 200)) == 200


def test_what_an_alternate_exchange_takes_has_a_route(endpoint: Endpoint, raw: Any) -> None:
    lost = exchange(endpoint.sub("lost"), "fanout")
    queue = listen(raw, lost, "")
    made = exchange(endpoint.sub("made"), arguments={"alternate-exchange": lost.name})
    producer = endpoint.producer(mandatory=True, eks=[(made, "nobody")])
    producer.message_hello()

    assert take(raw, queue)["name"] == "hello"


def test_unconfirmed_messages_without_a_route_are_counted(endpoint: Endpoint, caplog: Any) -> None:
    producer = endpoint.producer(mandatory=True, confirm=False)
    before = returned()
    for _ in range(25):
        producer.message_hello(_key="nobody")
    wait_until(lambda: returned() == before + 25, SOON)

    lines = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert 1 <= len(lines) <= 3, "not a line for each"
    assert all("'nobody'" in line for line in lines)


def returned() -> int:
    """Return how many messages were returned on all channels."""
    return sum(c.returned for connection in green.statistics() for c in connection.channels)


def test_a_mandatory_message_is_sent_again_like_any_other(
    proxy: Proxy, broker_env: Any, endpoint: Endpoint, raw: Any, queue: str
) -> None:
    producer = behind(proxy, broker_env, endpoint, mandatory=True)
    producer.message_before()
    take(raw, queue)
    proxy.cut()
    producer.message_after()
    with pytest.raises(NoRoute):
        producer.message_after(_key="nobody")

    assert take(raw, queue)["name"] == "after"
