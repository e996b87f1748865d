"""``broker.faults``: each failure as clients see it; and the manual clock."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gevent
import pika
import pika.exceptions
import pytest

from postage import green, messaging
from postage.broker import Broker, BrokerThread, Faults, ManualTimers
from postage.errors import (
    ChannelRefused,
    NotAcknowledged,
    OperationTimeout,
    PublishFailed,
    SettingsError,
)
from postage.testing import wait_until
from tests.support.endpoints import Endpoint
from tests.support.frame_client import FrameClient, names_of
from tests.support.waiting import assert_stays

TTL = {"x-message-ttl": 60_000}


@pytest.fixture(scope="module")
def broker() -> Iterator[BrokerThread]:
    with BrokerThread() as running:
        yield running


@pytest.fixture(autouse=True)
def _all_goes_well_again(broker: BrokerThread) -> Iterator[None]:
    yield
    broker.faults.clear()
    green.close()


@pytest.fixture
def endpoint(broker: BrokerThread, request: pytest.FixtureRequest, monkeypatch: Any) -> Endpoint:
    monkeypatch.setenv("POSTAGE_URL", broker.url)
    return Endpoint(request.node.name)


@pytest.fixture
def producer(endpoint: Endpoint) -> messaging.GenericProducer:
    """A producer that has published once, to an existing queue."""
    messaging.GenericConsumer(endpoint.eqk)
    made = endpoint.producer(publish_timeout=2.0)
    made.message_first()
    return made


def ready(broker: BrokerThread, queue: str) -> int:
    return broker.statistics().queue(queue).ready


def test_a_dropped_connection_is_made_anew(
    broker: BrokerThread, producer: Any, endpoint: Endpoint
) -> None:
    assert broker.faults.drop("publishing") == 1

    producer.message_second()

    assert ready(broker, endpoint.queue) == 2
    assert broker.faults.drop("nobody is called that") == 0


def test_a_connection_dropped_after_a_publish_has_published(
    broker: BrokerThread, producer: Any, endpoint: Endpoint
) -> None:
    """The producer publishes again, because it cannot know that only the answer was lost."""
    broker.faults.drop("publishing", after_frames=3)
    sending = gevent.spawn(producer.message_second)
    wait_until(lambda: ready(broker, endpoint.queue) >= 2)
    broker.faults.clear()

    sending.get(timeout=5)

    assert ready(broker, endpoint.queue) >= 3


@pytest.mark.parametrize("fault", ["lose", "delay"])
def test_a_confirm_that_does_not_come_in_time(
    broker: BrokerThread, producer: Any, endpoint: Endpoint, fault: str
) -> None:
    producer.publish_timeout = 0.2
    faults = broker.faults
    {"lose": faults.lose_confirms, "delay": lambda: faults.delay_confirms(0.5)}[fault]()

    with pytest.raises(PublishFailed):
        producer.message_second()

    assert ready(broker, endpoint.queue) >= 2
    producer.publish_timeout = 2.0
    producer.message_third()


def test_a_confirm_that_comes_late_is_as_good(broker: BrokerThread, producer: Any) -> None:
    broker.faults.delay_confirms(0.05)

    producer.message_second()


def test_a_confirm_turned_into_a_nack(broker: BrokerThread, producer: Any) -> None:
    broker.faults.nack_confirms(count=100)
    producer.publish_timeout = 0.3

    with pytest.raises(PublishFailed) as failed:
        producer.message_second()

    assert isinstance(failed.value, NotAcknowledged) or failed.value.__cause__ is not None


def test_faults_of_confirms_come_one_after_the_other(client: FrameClient) -> None:
    faults = Faults(client.node)
    faults.lose_confirms()
    faults.nack_confirms()
    client.call("confirm.select", 1)

    client.publish("nowhere")
    assert client.receive() == []
    client.publish("nowhere")

    assert names_of(client.receive()) == ["basic.nack"]


def test_a_message_comes_twice(broker: BrokerThread, producer: Any, endpoint: Endpoint) -> None:
    broker.faults.deliver_twice(endpoint.queue)

    producer.message_second()
    producer.message_third()

    assert ready(broker, endpoint.queue) == 4


def test_blocked_publishers_wait_and_go_on(
    broker: BrokerThread, producer: Any, endpoint: Endpoint
) -> None:
    broker.faults.block("a test wants it")
    blocked = gevent.spawn(producer.message_second)
    wait_until(lambda: broker.statistics().alarm == "a test wants it")
    assert any(connection.blocked for connection in broker.statistics().connections)
    assert_stays(lambda: not blocked.dead, 0.05)

    broker.faults.unblock()

    blocked.get(timeout=5)
    assert ready(broker, endpoint.queue) == 2


def test_a_cancelled_consumer_consumes_again(broker: BrokerThread, endpoint: Endpoint) -> None:
    consumer = messaging.GenericConsumer(endpoint.eqk)
    run = gevent.spawn(consumer.start_consuming, lambda *_: None)
    wait_until(lambda: consumer.consuming)

    assert broker.faults.cancel_consumers(endpoint.queue) == 1

    wait_until(lambda: consumer.counts["restored"] == 1)
    assert broker.statistics().queue(endpoint.queue).consumers == 1
    consumer.stop_consuming()
    run.get(timeout=5)


def test_a_refused_declaration_is_refused_once(broker: BrokerThread, endpoint: Endpoint) -> None:
    broker.faults.refuse_declare(endpoint.queue, 406, "not today")

    with pytest.raises(ChannelRefused, match="not today"):
        messaging.GenericConsumer(endpoint.eqk)
    messaging.GenericConsumer(endpoint.eqk)


def test_a_silent_connection_keeps_its_socket_and_says_nothing(
    broker: BrokerThread, endpoint: Endpoint, monkeypatch: Any
) -> None:
    monkeypatch.setenv("POSTAGE_URL", f"{broker.url}?operation_timeout=0.3")
    consumer = messaging.GenericConsumer(endpoint.eqk)
    run = gevent.spawn(consumer.start_consuming, lambda *_: None)
    wait_until(lambda: consumer.consuming)

    assert broker.faults.silence("consuming") == 1

    with pytest.raises(OperationTimeout):
        consumer.queue_bind(endpoint.exchange, endpoint.queue, "another key")
    assert not run.dead
    (silent,) = broker.statistics().connections
    assert silent.state == "open"


def test_plain_pika_is_not_spared(broker: BrokerThread) -> None:
    connection = pika.BlockingConnection(pika.URLParameters(broker.url))
    connection.channel()
    broker.faults.drop()

    with pytest.raises(pika.exceptions.AMQPConnectionError):
        connection.process_data_events(time_limit=5)


def test_faults_end_with_clear(broker: BrokerThread, producer: Any, endpoint: Endpoint) -> None:
    faults = broker.faults
    faults.drop(after_frames=2)
    faults.lose_confirms(10)
    faults.deliver_twice(endpoint.queue, 10)
    faults.refuse_declare(endpoint.sub("x"))
    faults.block()

    faults.clear()

    producer.message_second()
    assert ready(broker, endpoint.queue) == 2
    assert broker.statistics().alarm is None


# --- time


def in_a_thread(function: Any, *arguments: Any) -> Any:
    """Run plain pika, which blocks, beside the broker in this thread."""
    return gevent.get_hub().threadpool.apply(function, arguments)


def counted(url: str) -> int:
    with pika.BlockingConnection(pika.URLParameters(url)) as connection:
        declared = connection.channel().queue_declare("q", durable=True, arguments=TTL)
        return int(declared.method.message_count)


def filled(url: str) -> None:
    with pika.BlockingConnection(pika.URLParameters(url)) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        channel.queue_declare("q", durable=True, arguments=TTL)
        channel.basic_publish("", "q", b"x")


def test_messages_expire_when_the_clock_is_turned() -> None:
    clock = ManualTimers()
    with Broker(timers=clock) as broker:
        in_a_thread(filled, broker.url)
        clock.advance(59)
        assert in_a_thread(counted, broker.url) == 1
        clock.advance(2)
        assert in_a_thread(counted, broker.url) == 0


def test_the_clock_of_a_broker_in_a_thread_is_turned_there() -> None:
    clock = ManualTimers()
    with BrokerThread(timers=clock) as broker:
        filled(broker.url)
        broker.call(clock.advance, 61)
        assert counted(broker.url) == 0


def test_a_place_that_does_not_exist_is_told(
    broker: BrokerThread, producer: Any, endpoint: Endpoint
) -> None:
    broker.add_vhost("other")
    with pytest.raises(SettingsError, match=r"'/' has no queue 'nowhere'$"):
        broker.faults.cancel_consumers("nowhere")
    with pytest.raises(SettingsError, match=r"; give vhost='/', which has it$"):
        broker.faults.cancel_consumers(endpoint.queue, vhost="other")
    for fault in (broker.faults.deliver_twice, broker.faults.refuse_declare):
        with pytest.raises(SettingsError, match="the broker has no virtual host 'nowhere'"):
            fault(endpoint.queue, vhost="nowhere")
