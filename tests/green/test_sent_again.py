"""A message that its publisher sends again is handled once by each process that has its queue."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import gevent
import gevent.event
import pytest

from postage import messaging
from postage.copies import AGAIN
from postage.errors import PublishFailed
from postage.testing.polling import wait_until
from tests.support.endpoints import Endpoint
from tests.support.raw import Raw
from tests.support.running import SOON, running
from tests.support.waiting import assert_stays

pytestmark = pytest.mark.usefixtures("broker_env")

ID = "0123456789abcdef" * 2


def sent(raw: Raw, endpoint: Endpoint, name: str = "note", **properties: Any) -> None:
    """Publish a message by plain pika."""
    body = {**messaging.MessageCommand(name).body, "fingerprint": {"name": "x"}}
    known = {"message_id": ID, "content_type": "application/json", "timestamp": 1}
    data = json.dumps(body).encode()
    raw.send(endpoint.exchange.name, endpoint.key, data, **{**known, **properties})


class Noting(messaging.MessageProcessor):
    """Its handlers note each message; then they end, fail, or wait until `opened`."""

    shutdown_timeout = 0.1

    def __init__(self, *args: Any) -> None:
        self.noted: list[str] = []
        self.opened = gevent.event.Event()
        super().__init__(*args)

    @messaging.MessageHandler("command", "note")
    def note(self, content: Any) -> None:
        self.noted.append("note")

    @messaging.MessageHandler("command", "fail")
    def fail(self, content: Any) -> None:
        self.noted.append("fail")
        raise messaging.RejectMessage("as told")

    @messaging.MessageHandler("command", "wait")
    def wait(self, content: Any) -> None:
        self.noted.append("wait")
        self.opened.wait()


def noting(endpoint: Endpoint, **settings: Any) -> Noting:
    return type("Noting", (Noting,), settings)({"name": "noting"}, endpoint.strict)


def settled(raw: Raw, endpoint: Endpoint, processor: Noting) -> bool:
    counts = processor.counts
    return counts["duplicates"] == 1 and not raw.count(endpoint.queue)


@pytest.mark.parametrize("name", ["note", "fail"])
def test_what_was_settled_is_acknowledged(
    endpoint: Endpoint, raw: Raw, caplog: Any, name: str
) -> None:
    raw.declare(endpoint.dead)
    processor = noting(endpoint)
    caplog.set_level("INFO")
    with running(processor):
        sent(raw, endpoint, name)
        wait_until(lambda: processor.counts["handled"] == 1, SOON)
        sent(raw, endpoint, name, type=AGAIN)
        sent(raw, endpoint, name, type=AGAIN)
        wait_until(lambda: processor.counts["duplicates"] == 2, SOON)

    assert processor.noted == [name]
    assert raw.count(endpoint.dead) == (name == "fail"), "as if it had been sent once"
    assert raw.count(endpoint.queue) == 0
    assert processor.statistics().duplicates == 2
    assert len([r for r in caplog.records if "handled before" in r.getMessage()]) == 1


def test_a_copy_waits_until_the_first_one_is_handled(endpoint: Endpoint, raw: Raw) -> None:
    processor = noting(endpoint)
    with running(processor):
        sent(raw, endpoint, "wait")
        wait_until(lambda: processor.noted == ["wait"], SOON)
        sent(raw, endpoint, "wait", type=AGAIN)
        assert_stays(lambda: processor.noted == ["wait"], 0.3)
        sent(raw, endpoint, "note", message_id="f" * 32)
        wait_until(lambda: processor.noted == ["wait", "note"], SOON)
        processor.opened.set()
        wait_until(lambda: processor.counts["duplicates"] == 1, SOON)

    assert processor.noted == ["wait", "note"]


def test_a_copy_of_what_was_not_finished_is_handled(endpoint: Endpoint, raw: Raw) -> None:
    processor = noting(endpoint)
    with running(processor):
        sent(raw, endpoint, "wait")
        wait_until(lambda: processor.noted == ["wait"], SOON)
        sent(raw, endpoint, "wait", type=AGAIN)
    wait_until(lambda: raw.count(endpoint.queue) == 2, SOON)

    with running(processor):
        wait_until(lambda: processor.noted == ["wait"] * 2, SOON)
        processor.opened.set()
        wait_until(lambda: raw.count(endpoint.queue) == 0, SOON)

    assert len(processor.noted) <= 3


def test_a_restarted_processor_still_knows_it(endpoint: Endpoint, raw: Raw) -> None:
    processor = noting(endpoint)
    with running(processor):
        sent(raw, endpoint)
        wait_until(lambda: processor.counts["handled"] == 1, SOON)
    sent(raw, endpoint, type=AGAIN)
    with running(processor):
        wait_until(lambda: settled(raw, endpoint, processor), SOON)

    assert processor.noted == ["note"]


def test_two_processors_of_one_queue_know_it(endpoint: Endpoint, raw: Raw) -> None:
    processors = [noting(endpoint), noting(endpoint)]
    with running(*processors):
        for number in range(10):
            sent(raw, endpoint, message_id=f"{number:032}")
        wait_until(lambda: sum(p.counts["handled"] for p in processors) == 10, SOON)
        for number in range(10):
            sent(raw, endpoint, message_id=f"{number:032}", type=AGAIN)
        wait_until(lambda: sum(p.counts["duplicates"] for p in processors) == 10, SOON)

    assert sum(len(p.noted) for p in processors) == 10


def test_each_queue_gets_its_own_copy(endpoint: Endpoint, raw: Raw) -> None:
    first, second = endpoint.queue, endpoint.sub("second")
    eqk = endpoint.at((first, endpoint.key), (second, endpoint.key))
    processor = Noting({"name": "noting"}, eqk)
    with running(processor):
        sent(raw, endpoint)
        wait_until(lambda: processor.counts["handled"] == 2, SOON)
        sent(raw, endpoint, type=AGAIN)
        wait_until(lambda: processor.counts["duplicates"] == 2, SOON)

    assert processor.noted == ["note"] * 2


@pytest.mark.parametrize(
    "properties",
    [
        {"message_id": None},
        {"message_id": "g" * 32},
        {"type": None},
        {"type": "order"},
        {"headers": {"x-death": [{"count": 1}]}},
    ],
    ids=["no id", "other id", "no mark", "other type", "dead-lettered"],
)
def test_what_is_no_copy_is_handled(
    endpoint: Endpoint, raw: Raw, properties: dict[str, Any]
) -> None:
    processor = noting(endpoint)
    with running(processor):
        sent(raw, endpoint)
        wait_until(lambda: processor.noted == ["note"], SOON)
        sent(raw, endpoint, **{"type": AGAIN, **properties})
        wait_until(lambda: processor.noted == ["note"] * 2, SOON)

    assert processor.counts["duplicates"] == 0


def test_a_marked_message_that_is_no_copy_is_never_lost(endpoint: Endpoint, raw: Raw) -> None:
    """It was not in the queue before, or comes again because its first handler was killed."""
    processor = noting(endpoint)
    with running(processor):
        sent(raw, endpoint, "wait", type=AGAIN)
        wait_until(lambda: processor.noted == ["wait"], SOON)
    with running(processor):
        wait_until(lambda: processor.noted == ["wait"] * 2, SOON)
        processor.opened.set()
        wait_until(lambda: processor.counts["handled"] == 1, SOON)

    assert raw.count(endpoint.queue) == 0
    assert processor.counts["duplicates"] == 0


def test_a_classic_consumer_gets_no_copy(endpoint: Endpoint, raw: Raw) -> None:
    consumer = messaging.GenericConsumer(endpoint.eqk)
    got: list[str] = []

    def callback(_channel: Any, method: Any, header: Any, _body: bytes) -> None:
        got.append(header.message_id)
        consumer.ack(method)

    greenlet = gevent.spawn(consumer.start_consuming, callback)
    sent(raw, endpoint)
    wait_until(lambda: got == [ID], SOON)
    sent(raw, endpoint, type=AGAIN)
    wait_until(lambda: consumer.counts["duplicates"] == 1, SOON)
    consumer.stop_consuming()
    greenlet.get(timeout=SOON)

    assert got == [ID]
    assert raw.count(endpoint.queue) == 0


# --- from the publisher on


@contextmanager
def full_queue(raw: Raw, endpoint: Endpoint) -> Iterator[str]:
    """Bind a full queue, for which the broker answers each publish with a nack."""
    full = raw.declare(
        endpoint.sub("full"), arguments={"x-max-length": 0, "x-overflow": "reject-publish"}
    )
    raw.channel.queue_bind(full, endpoint.exchange.name, endpoint.key)
    yield full
    raw.channel.queue_delete(full)


def test_a_full_queue_of_others_makes_no_duplicates(endpoint: Endpoint, raw: Raw) -> None:
    processor = noting(endpoint)
    producer = endpoint.producer(publish_timeout=0.5)
    with running(processor), full_queue(raw, endpoint):
        with pytest.raises(PublishFailed, match=r"full \(x-overflow\).* removed just then"):
            producer.message_note()
        wait_until(lambda: processor.counts["duplicates"] > 1, SOON)

    assert processor.noted == ["note"]


def test_a_nack_that_passes_makes_no_duplicates(endpoint: Endpoint, raw: Raw) -> None:
    processor = noting(endpoint)
    with running(processor):
        with full_queue(raw, endpoint):
            sending = gevent.spawn(endpoint.producer().message_note)
            wait_until(lambda: processor.counts["duplicates"] > 0, SOON)
        sending.get(timeout=SOON)

    assert processor.noted == ["note"]


def test_others_see_the_mark_and_the_same_id(endpoint: Endpoint, raw: Raw) -> None:
    endpoint.producer().message_note()  # declares the exchange
    raw.declare(endpoint.queue)
    raw.channel.queue_bind(endpoint.queue, endpoint.exchange.name, endpoint.key)
    with full_queue(raw, endpoint), pytest.raises(PublishFailed):
        endpoint.producer(publish_timeout=0.1).message_note()

    first, second = raw.take(endpoint.queue), raw.take(endpoint.queue)
    assert (first.properties.type, second.properties.type) == (None, AGAIN)
    assert first.properties.message_id == second.properties.message_id
    assert first.body == second.body


def test_subscribers_that_leave_make_no_duplicates(endpoint: Endpoint, raw: Raw) -> None:
    """RabbitMQ 4.1 and later answers with a nack while the queue of a subscriber is removed."""
    processor = noting(endpoint)
    producer = endpoint.producer()
    publishing = True

    def publish() -> int:
        count = 0
        while publishing:
            producer.message_note()
            count += 1
        return count

    with running(processor):
        publishers = [gevent.spawn(publish) for _ in range(3)]
        for _ in range(30):
            subscriber = raw.connection.channel()
            queue = subscriber.queue_declare("", exclusive=True, auto_delete=True).method.queue
            subscriber.queue_bind(queue, endpoint.exchange.name, endpoint.key)
            tag = subscriber.basic_consume(queue, lambda *_: None, auto_ack=True)
            gevent.sleep(0.005)
            subscriber.basic_cancel(tag)  # the queue ends with it
            subscriber.close()
        publishing = False
        count = sum(each.get(timeout=SOON) for each in publishers)
        wait_until(lambda: processor.counts["handled"] == count, SOON)
        wait_until(lambda: raw.count(endpoint.queue) == 0, SOON)

    assert len(processor.noted) == count
