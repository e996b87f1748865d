"""`postage_clock`: a test lets time pass on the embedded broker, and need not wait."""

from __future__ import annotations

import math
import threading
from typing import Any, ClassVar

import pika
import pika.exceptions
import pytest

from postage import Exchange, GenericProducer, MessageHandler, MessageProcessor, Retry
from postage.broker import Broker, BrokerThread
from postage.errors import SettingsError
from postage.testing import wait_until
from tests.support.stopwatch import Stopwatch

#: Seconds, far below the 2.5 s for which a connection does not make a missing exchange again.
FAST = 2.0


@pytest.fixture(scope="session", autouse=True)
def _embedded_only(_postage_chosen: str) -> None:
    """Skip before a node is started whose time cannot be turned."""
    if _postage_chosen != "embedded":
        pytest.skip("only the embedded broker has a clock that a test can turn")


class Shop(Exchange):
    name = "shop-clock"


class Client(GenericProducer):
    eks: ClassVar[Any] = [(Shop, "order")]


class Orders(MessageProcessor):
    eqk: ClassVar[Any] = [(Shop, [("orders-clock", "order")])]
    retry = Retry(delays=(120, 120, 7200), jitter=0)

    def __init__(self) -> None:
        super().__init__()
        self.tries = 0

    @MessageHandler("command", "order")
    def order(self, _content: Any) -> None:
        self.tries += 1
        if self.tries <= 3:
            raise ConnectionError("the bank is away")


def delayed(orders: Orders, times: int) -> bool:
    return orders.counts["delayed"] == times


def test_hours_of_delays_pass_at_once(run_processor: Any, postage_clock: Any) -> None:
    orders = run_processor(Orders)
    Client().message_order("bolts")

    stopwatch = Stopwatch()

    for turn, seconds in enumerate((130, 130, 7300), 1):
        wait_until(lambda turn=turn: delayed(orders, turn))  # type: ignore[misc]
        postage_clock.advance(seconds)  # the second: the queue was declared 130 s ago
    wait_until(lambda: orders.counts["handled"] == 4)

    assert (orders.tries, orders.counts["parked"]) == (4, 0)
    assert stopwatch.own < FAST
    assert run_processor.errors
    run_processor.errors.clear()


def test_before_its_time_nothing_comes_back(
    run_processor: Any, postage_clock: Any, postage_broker: BrokerThread, postage_vhost: str
) -> None:
    orders = run_processor(Orders)
    Client().message_order("bolts")
    wait_until(lambda: delayed(orders, 1))

    postage_clock.advance(100)
    waiting = {each.name: each.ready for each in postage_broker.statistics().queues}

    assert waiting["postage.delay.125s"] == 1
    assert orders.tries == 1
    run_processor.errors.clear()


def test_messages_and_queues_of_any_client_expire(postage_clock: Any, postage_url: str) -> None:
    with pika.BlockingConnection(pika.URLParameters(postage_url)) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        dead = {"x-message-ttl": 60_000, "x-dead-letter-exchange": "", "x-expires": 100_000}
        arguments = dead | {"x-dead-letter-routing-key": "long"}
        channel.queue_declare("short", durable=True, arguments=arguments)
        channel.queue_declare("long", durable=True)
        channel.basic_publish("", "short", b"hello")

        postage_clock.advance(60)
        _, properties, body = channel.basic_get("long", auto_ack=True)
        assert body == b"hello"
        assert properties.headers["x-death"][0]["reason"] == "expired"

        postage_clock.advance(40)
        with pytest.raises(pika.exceptions.ChannelClosedByBroker, match="NOT_FOUND"):
            channel.queue_declare("short", passive=True)


def test_connections_outlive_any_time(
    run_processor: Any, received: Any, postage_clock: Any, postage_broker: BrokerThread
) -> None:
    run_processor(Orders)
    inbox = received(Shop, "order")
    before = {each.name for each in postage_broker.statistics().connections}

    postage_clock.advance(100_000)
    Client().message_order("bolts")

    assert inbox.wait()
    assert before <= {each.name for each in postage_broker.statistics().connections}
    run_processor.errors.clear()


def test_other_virtual_hosts_keep_their_time(
    postage_clock: Any, postage_broker: BrokerThread
) -> None:
    postage_broker.add_vhost("other")
    url = f"{postage_broker.url}/other"
    with pika.BlockingConnection(pika.URLParameters(url)) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        channel.queue_declare("short", exclusive=True, arguments={"x-message-ttl": 60_000})
        channel.basic_publish("", "short", b"hello")

        postage_clock.advance(1000)
        assert channel.queue_declare("short", passive=True).method.message_count == 1
        postage_broker.advance(1000, vhost="other")
        assert channel.queue_declare("short", passive=True).method.message_count == 0
    postage_broker.remove_vhost("other")


def test_any_thread_may_turn_it(postage_broker: BrokerThread, postage_vhost: str) -> None:
    url = f"{postage_broker.url}/{postage_vhost}"
    with pika.BlockingConnection(pika.URLParameters(url)) as connection:
        channel = connection.channel()
        for number in range(200):
            name = f"short-{number}"
            channel.queue_declare(name, arguments={"x-expires": 1000 * (number + 1)}, durable=True)

        turn = [
            threading.Thread(target=postage_broker.advance, args=(10,), kwargs={"vhost": vhost})
            for vhost in [postage_vhost] * 20
        ]
        for each in turn:
            each.start()
        for each in turn:
            each.join()

    assert not [each for each in postage_broker.statistics().queues if each.vhost == postage_vhost]


@pytest.mark.parametrize("seconds", [-1, math.nan, math.inf, 1e12, "60", None, True])
def test_a_time_that_cannot_pass_is_refused(postage_clock: Any, seconds: Any) -> None:
    with pytest.raises(SettingsError, match="seconds must be"):
        postage_clock.advance(seconds)


def test_a_virtual_host_that_does_not_exist_is_named() -> None:
    with pytest.raises(SettingsError, match="no virtual host 'nowhere'"):
        Broker().advance(1, vhost="nowhere")
