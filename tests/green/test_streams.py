"""Streams: where a consumer begins, what becomes of its messages, and where it goes on."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import gevent.event
import pytest

from postage import green, messaging
from postage.errors import ChannelRefused, SettingsError
from postage.green.amqp.delivery import Delivery
from postage.green.amqp.stream_reader import OFFSET, StreamReader
from postage.testing.polling import wait_until
from postage.testing.vhosts import chosen_broker
from postage.typed_queue import ConsumerOptions
from tests.support.endpoints import Endpoint
from tests.support.proxy import Proxy
from tests.support.raw import Raw
from tests.support.running import SOON, consuming, running
from tests.support.undisturbed import Undisturbed

pytestmark = pytest.mark.usefixtures("broker_env")
on_rabbitmq = pytest.mark.needs_rabbitmq("streams")


class Reader(messaging.MessageProcessor):
    """Reads numbers, of which some fail, and one waits for the gate."""

    def __init__(self, *args: Any, **kwds: Any) -> None:
        self.seen: list[int] = []
        self.gate = gevent.event.Event()
        super().__init__(*args, **kwds)

    @messaging.MessageHandler("command", "note")
    def note(self, content: Any) -> None:
        number = content["parameters"]
        self.seen.append(number)
        if number == 3:
            raise messaging.RejectMessage
        if number == 5:
            raise ValueError(number)
        if number == 7:
            self.gate.wait()


def reader(endpoint: Endpoint, offset: Any = "first", hup: Any = None) -> Reader:
    stream = green.Stream(endpoint.queue, offset=offset, max_length_bytes=1 << 20)
    return Reader({}, endpoint.at((stream, endpoint.key)), hup)


def write(endpoint: Endpoint, numbers: range) -> None:
    producer = endpoint.producer()
    for number in numbers:
        producer.message_note(number)


@on_rabbitmq
@pytest.mark.parametrize("offset", ["first", 0, timedelta(hours=1), "5m", "2h"], ids=str)
def test_a_reader_gets_what_was_written_before(endpoint: Endpoint, offset: Any) -> None:
    reading = reader(endpoint, offset)
    write(endpoint, range(3))

    with running(reading):
        write(endpoint, range(10, 13))
        wait_until(lambda: len(reading.seen) >= 6, SOON)

    assert reading.seen == [0, 1, 2, 10, 11, 12]


@on_rabbitmq
@pytest.mark.parametrize(
    ("offset", "first"),
    [("next", 10), (None, 10), (2, 2), (datetime(2020, 1, 1, tzinfo=timezone.utc), 0)],
    ids=["next", "None", "2", "2020"],
)
def test_a_reader_begins_where_it_is_told(endpoint: Endpoint, offset: Any, first: int) -> None:
    reading = reader(endpoint, offset)
    write(endpoint, range(3))

    with running(reading):
        wait_until(lambda: reading.consumer.consuming, SOON)
        write(endpoint, range(10, 12))
        wait_until(lambda: 11 in reading.seen, SOON)

    assert reading.seen == [n for n in (0, 1, 2, 10, 11) if n >= first]


@on_rabbitmq
def test_failed_messages_are_passed_over_by_each_reader(endpoint: Endpoint) -> None:
    readings = [reader(endpoint) for _ in range(3)]
    for each in readings:
        each.gate.set()
        each.consumer.prefetch = 2
    write(endpoint, range(20))

    with Undisturbed(endpoint), running(*readings):
        wait_until(lambda: all(len(each.seen) == 20 for each in readings), SOON)
        wait_until(lambda: all(each.counts["failed"] == 2 for each in readings), SOON)

    assert all(each.seen == [*range(20)] for each in readings)


@on_rabbitmq
@pytest.mark.parametrize("offset", ["first", "next"])
def test_a_reader_goes_on_after_a_lost_connection(
    endpoint: Endpoint, hup: Any, proxy: Proxy, offset: str
) -> None:
    reading = reader(endpoint, offset, hup)
    with running(reading):
        wait_until(lambda: reading.consumer.consuming, SOON)
        write(endpoint, range(10))
        wait_until(lambda: len(reading.seen) == 10, SOON)
        wait_until(lambda: reading.counts["handled"] == 9, SOON)
        proxy.refuse()
        proxy.cut()
        wait_until(lambda: not reading.consumer.consuming, SOON)
        write(endpoint, range(10, 15))  # missed with "next" otherwise
        proxy.accept()
        wait_until(lambda: 14 in reading.seen, SOON)
        # Only what was not settled comes again.
        assert reading.seen == [*range(10), 7, *range(10, 15)]
        reading.gate.set()


@on_rabbitmq
def test_a_reader_that_is_started_again_goes_on(endpoint: Endpoint) -> None:
    reading = reader(endpoint)
    reading.gate.set()
    write(endpoint, range(5))
    with running(reading):
        wait_until(lambda: len(reading.seen) == 5, SOON)
    write(endpoint, range(10, 12))
    with running(reading):
        wait_until(lambda: 11 in reading.seen, SOON)

    assert reading.seen == [*range(5), 10, 11]


@on_rabbitmq
def test_a_stream_that_was_deleted_is_read_from_its_beginning(endpoint: Endpoint, raw: Raw) -> None:
    reading = reader(endpoint)
    reading.gate.set()
    with running(reading):
        write(endpoint, range(10))
        wait_until(lambda: len(reading.seen) == 10, SOON)
        raw.channel.queue_delete(endpoint.queue)
        wait_until(lambda: reading.counts["restored"] == 1, SOON)
        write(endpoint, range(20, 22))
        wait_until(lambda: reading.seen[-2:] == [20, 21], SOON)


@on_rabbitmq
def test_callbacks_read_streams(endpoint: Endpoint, raw: Raw) -> None:
    stream = green.Stream(endpoint.queue, offset="first")
    consumer = messaging.GenericConsumer(endpoint.at((stream, endpoint.key)))
    for number in range(10):
        raw.send(endpoint.exchange.name, endpoint.key, str(number).encode())

    with consuming(consumer) as got:
        wait_until(lambda: len(got) == 10, SOON)

    assert [int(body) for *_, body in got] == [*range(10)]
    assert [header.headers[OFFSET] for _, _, header, _ in got] == [*range(10)]


@on_rabbitmq
def test_what_is_stopped_is_read_again(endpoint: Endpoint) -> None:
    reading = reader(endpoint)
    reading.shutdown_timeout = 0.0
    write(endpoint, range(9))
    with running(reading):
        wait_until(lambda: len(reading.seen) == 9, SOON)
    reading.gate.set()
    with running(reading):
        wait_until(lambda: reading.seen == [*range(9), 7], SOON)


class EndlessConsumer(messaging.GenericConsumer):
    prefetch = 0


class EndlessReader(Reader):
    prefetch = 0


@pytest.mark.parametrize("kind", [EndlessConsumer, EndlessReader])
@pytest.mark.parametrize("later", [False, True])
def test_a_stream_needs_a_prefetch(endpoint: Endpoint, raw: Raw, kind: Any, later: Any) -> None:
    raw.declare(endpoint.queue)
    eqk = endpoint.at((green.Stream(endpoint.queue, passive=True), None))
    listen = kind(eqk=endpoint.eqk).add_eqk if later else lambda eqk: kind(eqk=eqk)

    with pytest.raises(SettingsError, match="needs a prefetch"):
        listen(eqk)


def test_the_embedded_broker_says_that_it_has_no_streams(
    endpoint: Endpoint, pytestconfig: Any
) -> None:
    if chosen_broker(pytestconfig) != "embedded":
        pytest.skip("RabbitMQ has streams")
    with Undisturbed(endpoint), pytest.raises(ChannelRefused) as caught:
        reader(endpoint)

    assert caught.value.code == 540
    assert "embedded broker has no streams" in str(caught.value)


# --- the position, without a broker


class Settled:
    """A channel that keeps what is settled on it."""

    def __init__(self) -> None:
        self.alive = True
        self.settled: list[Any] = []

    def ack(self, tag: int) -> None:
        self.settled.append(tag)

    def reject(self, tag: int, *, requeue: bool) -> None:
        self.settled.append((tag, requeue))


def delivered(position: StreamReader, *offsets: int) -> tuple[Settled, dict[int, Any]]:
    """Deliver messages with *offsets*; return their channel, and those that are passed on."""
    channel, passed = Settled(), {}
    for tag, offset in enumerate(offsets, 1):
        delivery = Delivery("tag", tag, False, "", "", 0.0)
        delivery.channel = channel
        delivery._properties = messaging_properties(offset)
        position.receive(lambda each, o=offset: passed.__setitem__(o, each), delivery)  # type: ignore[misc]
    return channel, passed


def messaging_properties(offset: int) -> Any:
    return type("Properties", (), {"headers": {OFFSET: offset}})()


OPTIONS = ConsumerOptions(arguments={OFFSET: "first", "x-stream-filter": ["a"]}, is_stream=True)


def test_the_next_consumer_begins_with_the_first_unsettled() -> None:
    position = StreamReader()
    assert position.arguments(OPTIONS) == OPTIONS.arguments
    channel, first = delivered(position, 5, 6, 8, 9)
    for offset in (5, 8):
        first[offset].ack()
    first[9].reject(requeue=False)
    assert position.arguments(OPTIONS) == {OFFSET: 6, "x-stream-filter": ["a"]}
    first[6].reject(requeue=True)
    assert position.arguments(OPTIONS)[OFFSET] == 6
    assert channel.settled == [1, 3, (4, False), (2, True)]

    channel, again = delivered(position, 6, 8, 9, 10)

    assert [*again] == [6, 10]
    assert channel.settled == [2, 3], "what was settled is acknowledged"
    for each in again.values():
        each.ack()
    assert position.arguments(OPTIONS)[OFFSET] == 11
    position.reset()
    assert position.arguments(OPTIONS) == OPTIONS.arguments
    assert [*delivered(position, 0)[1]] == [0]


def test_a_late_handler_settles_what_was_delivered_again() -> None:
    position = StreamReader()
    _, first = delivered(position, 0)
    channel, second = delivered(position, 0)
    first[0].ack()
    assert position.arguments(OPTIONS)[OFFSET] == 1
    second[0].ack()
    assert position.arguments(OPTIONS)[OFFSET] == 1
    assert channel.settled == [1]
