"""Failed messages: handled again, at once or later, and then parked with all that is known."""

from __future__ import annotations

import json
import logging
import struct
import time
from typing import Any

import gevent
import pika.exceptions
import pytest

from postage import GiveUp, Retry, RetryLater, SettingsError, green, messaging
from postage.green.amqp.codec import Codec
from postage.green.amqp.delivery import Delivery
from postage.green.amqp.properties import Properties
from postage.green.handling import keeping
from postage.testing.polling import wait_until
from tests.support.endpoints import Endpoint
from tests.support.raw import Raw, Taken
from tests.support.recorder import Answers, Handles, Recorder, at
from tests.support.running import SOON, running
from tests.support.waiting import assert_stays

pytestmark = pytest.mark.usefixtures("broker_env")


class Server(Recorder):
    """Fails as often as `failures` says."""

    failures: Any = 10**6
    error: Any = ConnectionError

    @Handles("command", "work")
    def work(self, content: Any) -> None:
        view = green.message()
        self.seen.append((view.attempt, view.exchange, view.routing_key, time.monotonic()))
        if self.failures:
            self.failures -= 1
            raise self.error("it is away") if isinstance(self.error, type) else self.error

    @Answers("command", "work")
    def answer(self, content: Any, reply: Any) -> None:
        self.seen.append("call")
        raise self.error


def parked(endpoint: Endpoint) -> str:
    return f"{endpoint.queue}.parked"


def taken(raw: Raw, endpoint: Endpoint) -> Taken:
    """Take one message off the parking queue, as soon as there is one."""
    wait_until(lambda: raw.exists(parked(endpoint)), SOON)
    return raw.take(parked(endpoint), SOON)


def made(endpoint: Endpoint, eqk: Any = None, **attributes: Any) -> Any:
    """Return a `Server` whose class has *attributes*."""
    return at(endpoint, type("Server", (Server,), attributes), eqk)


def test_a_hundred_failed_messages_are_parked_by_default(endpoint, raw):
    server, producer = made(endpoint), endpoint.producer()
    with running(server):
        for number in range(100):
            producer.message_work(number)
        wait_until(lambda: server.counts["parked"] == 100, SOON)
    assert raw.count(endpoint.queue) == 0
    numbers = [taken(raw, endpoint).value["content"]["parameters"] for _ in range(100)]
    assert sorted(numbers) == list(range(100))
    assert server.statistics().parked == 100


def test_a_parked_message_has_its_body_and_a_dossier(endpoint, raw):
    server = made(endpoint)
    body = messaging.JsonEncoder.encode(messaging.MessageCommand("work", 7).body).encode()
    raw.declare(endpoint.queue)
    raw.put(
        endpoint.queue, body, message_id="m1", headers={"x-tenant": "a", "CC": ["elsewhere"]},
        expiration="60000", content_type="application/json", app_id="shop", type="theirs",
    )  # fmt: skip
    with running(server):
        found = taken(raw, endpoint)
    assert found.body == body
    properties, headers = found.properties, found.properties.headers
    assert properties.message_id == "m1"
    assert properties.app_id == "shop"
    assert properties.type == "theirs"
    assert properties.delivery_mode == 2
    assert properties.expiration is None
    assert headers["x-tenant"] == "a"
    assert "CC" not in headers
    assert headers["x-postage-expiration"] == "60000"
    assert headers["x-postage-attempt"] == 1
    assert headers["x-postage-why"] == "failed"
    assert headers["x-postage-exception"] == "builtins.ConnectionError"
    assert headers["x-postage-queue"] == endpoint.queue
    assert headers["x-postage-handler"] == "Server.work"
    assert "raise self.error(" in headers["x-postage-traceback"]
    assert abs(headers["x-postage-parked-ms"] / 1000 - time.time()) < 60


def test_a_message_is_tried_at_once_again(endpoint, raw):
    server = made(endpoint, failures=2, retry=Retry(now=2))
    with running(server):
        endpoint.producer().message_work(1)
        wait_until(lambda: len(server.seen) == 3, SOON)
        wait_until(lambda: raw.count(endpoint.queue) == 0, SOON)
    assert (server.counts["handled"], server.counts["retried"], server.counts["failed"]) == (
        1,
        2,
        0,
    )
    assert not raw.exists(parked(endpoint))


def test_a_message_comes_again_after_its_delays(endpoint, raw):
    server = made(endpoint, failures=2, retry=Retry(delays=(0.2, 0.5), jitter=0))
    with running(server):
        endpoint.producer().message_work(1)
        wait_until(lambda: len(server.seen) == 3, SOON)
    times = [each[3] for each in server.seen]
    assert [each[:3] for each in server.seen] == [
        (attempt, endpoint.exchange.name, endpoint.key) for attempt in (1, 2, 3)
    ]
    assert times[1] - times[0] >= 0.19
    assert times[2] - times[1] >= 0.49
    assert (raw.count(endpoint.queue), server.counts["delayed"]) == (0, 2)


def test_the_last_try_parks_with_all_attempts(endpoint, raw):
    server = made(endpoint, retry=Retry(now=1, delays=(0.1,)))
    with running(server):
        endpoint.producer().message_work(1)
        headers = taken(raw, endpoint).properties.headers
    assert [attempt for attempt, *_ in server.seen] == [1, 2, 3, 4]
    assert (headers["x-postage-attempt"], headers["x-postage-round"]) == (4, 1)
    assert headers["x-postage-exchange"] == endpoint.exchange.name
    assert headers["x-postage-routing-key"] == endpoint.key
    assert headers["x-postage-first-failed-ms"] < headers["x-postage-parked-ms"]
    assert not [name for name in headers if "death" in name]


def test_a_handler_can_ask_for_another_time(endpoint):
    server = made(endpoint, failures=3, error=RetryLater(0.1))
    with running(server):
        endpoint.producer().message_work(1)
        wait_until(lambda: len(server.seen) == 4, SOON)
        wait_until(lambda: server.counts["delayed"] == 3, SOON)
    assert [each[0] for each in server.seen] == [1, 2, 3, 4]


def test_a_handler_can_give_up_a_message(endpoint, raw):
    server = made(endpoint, error=GiveUp("no such item"), retry=Retry(now=5, delays=(0.1,)))
    with running(server):
        endpoint.producer().message_work(1)
        headers = taken(raw, endpoint).properties.headers
    assert (headers["x-postage-why"], headers["x-postage-text"]) == ("gave-up", "no such item")
    assert len(server.seen) == 1


def test_a_handler_has_its_own_policy(endpoint):
    class Careful(Server):
        retry = Retry(delays=(60,))

        @Handles("command", "other")
        @green.retry(now=1, on=ConnectionError)
        def other(self, content: Any) -> None:
            self.work(content)

    server = at(endpoint, Careful)
    server.failures = 1
    with running(server):
        endpoint.producer().message_other(1)
        wait_until(lambda: len(server.seen) == 2, SOON)


def test_only_what_is_worth_it_is_tried_again(endpoint, raw):
    server = made(endpoint, error=KeyError("x"), retry=Retry(now=3, on=ConnectionError))
    with running(server):
        endpoint.producer().message_work(1)
        taken(raw, endpoint)
    assert len(server.seen) == 1


# --- what is not parked, or not tried again


def test_calls_are_answered_and_neither_tried_again_nor_parked(endpoint, raw):
    server = made(endpoint, retry=Retry(now=3, delays=(0.1,)))
    with running(server):
        result = endpoint.producer().rpc_work(1)
        assert (result.kind, result.value) == ("exception", "ConnectionError")
        wait_until(lambda: server.counts["failed"] == 1, SOON)
    assert server.seen == ["call"]
    assert not raw.exists(parked(endpoint))


def test_calls_are_parked_where_their_class_says_so(endpoint, raw):
    server = made(endpoint, park_calls=True)
    with running(server):
        endpoint.producer().rpc_work(1)
        assert taken(raw, endpoint).value["category"] == "rpc"


@pytest.mark.behaviour("message-outcomes")
def test_dead_letters_go_where_the_queue_says(endpoint, raw):
    raw.declare(endpoint.dead)
    with running(made(endpoint, endpoint.strict)):
        endpoint.producer().message_work(1)
        assert raw.take(endpoint.dead).value["name"] == "work"
    assert not raw.exists(parked(endpoint))


def test_without_parking_a_failed_message_is_rejected(endpoint, raw):
    server = made(endpoint, park=None)
    with running(server):
        endpoint.producer().message_work(1)
        wait_until(lambda: server.counts["failed"] == 1, SOON)
    assert (raw.count(endpoint.queue), raw.exists(parked(endpoint))) == (0, False)


def test_messages_of_private_queues_are_rejected(endpoint, raw):
    own = {"name": endpoint.queue, "flags": {"exclusive": True}}
    server = made(endpoint, endpoint.at((own, endpoint.key)))
    with running(server):
        endpoint.producer().message_work(1)
        wait_until(lambda: server.counts["failed"] == 1, SOON)
    assert not raw.exists(parked(endpoint))


def test_delays_are_refused_where_messages_cannot_come_back(endpoint):
    own = {"name": endpoint.queue, "flags": {"exclusive": True}}
    with pytest.raises(SettingsError, match=r"Retry\.delays"):
        made(endpoint, endpoint.at((own, endpoint.key)), retry=Retry(delays=(1,)))


@pytest.mark.parametrize(
    "value",
    ["", "{queue}", 5, "x" * 256, "amq.failed"],
    ids=["empty", "same", "5", "long", "reserved"],
)
def test_a_parking_queue_needs_a_name_of_its_own(endpoint, value):
    with pytest.raises(SettingsError, match="park"):
        made(endpoint, park=value)


def test_several_queues_can_share_a_parking_queue(endpoint, raw):
    shared = endpoint.sub("errors")
    with running(made(endpoint, park=shared)):
        endpoint.producer().message_work(1)
        wait_until(lambda: raw.exists(shared), SOON)
        assert raw.take(shared).properties.headers["x-postage-queue"] == endpoint.queue


def test_a_malformed_message_is_parked_at_once(endpoint, raw):
    raw.declare(endpoint.queue)
    raw.put(endpoint.queue, b"no json", headers={"h": 1})
    with running(made(endpoint, retry=Retry(now=5, delays=(5,)))):
        found = taken(raw, endpoint)
    assert found.body == b"no json"
    assert found.properties.headers["x-postage-why"] == "malformed"
    assert found.properties.headers["x-postage-exception"].endswith("DecodingError") or (
        "JSON" in found.properties.headers["x-postage-text"]
    )


def test_a_body_that_was_not_taken_cannot_be_parked(endpoint, raw):
    class Small(messaging.GenericConsumer):
        max_body = 100

    server = made(endpoint, consumer_class=Small)
    with running(server):
        raw.put(endpoint.queue, b"x" * 101)
        wait_until(lambda: server.counts["malformed"] == 1, SOON)
        wait_until(lambda: server.statistics().busy == 0, SOON)
    assert (raw.count(endpoint.queue), raw.exists(parked(endpoint))) == (0, False)


def test_a_message_that_kills_is_parked(endpoint, raw):
    class Killed(Server):
        max_deliveries = 1

        @Handles("command", "die")
        def die(self, content: Any) -> None:
            self.seen.append("began")
            gevent.sleep(60)

    first = at(endpoint, Killed)
    with running(first):
        first.shutdown_timeout = 0
        endpoint.producer().message_die()
        wait_until(lambda: first.seen == ["began"], SOON)
    with running(at(endpoint, Killed)):
        headers = taken(raw, endpoint).properties.headers
    assert headers["x-postage-why"] == "poisonous"


# --- trouble


def test_what_cannot_be_parked_stays_unacknowledged(endpoint, raw, caplog, monkeypatch):
    """A parking queue that is full refuses messages; when it has room, they go on."""
    monkeypatch.setattr(keeping, "LIMIT", 0.3)
    full = {"x-max-length": 1, "x-overflow": "reject-publish"}
    raw.declare(parked(endpoint), arguments=full)
    server, producer = made(endpoint), endpoint.producer()
    with running(server), caplog.at_level(logging.ERROR):
        for number in range(3):
            producer.message_work(number)
        wait_until(lambda: server.counts["parked"] == 1, SOON)
        wait_until(lambda: "could not be parked" in caplog.text, SOON)
        assert_stays(lambda: server.counts["parked"] == 1, 0.3)
        found = [taken(raw, endpoint) for _ in range(3)]
        wait_until(lambda: server.counts["parked"] == 3, SOON)
    assert sorted(each.value["content"]["parameters"] for each in found) == [0, 1, 2]
    assert raw.count(endpoint.queue) == 0


def test_what_cannot_be_parked_returns_when_the_processor_stops(endpoint, raw, monkeypatch):
    monkeypatch.setattr(keeping, "LIMIT", 0.2)
    full = {"x-max-length": 0, "x-overflow": "reject-publish"}
    raw.declare(parked(endpoint), arguments=full)
    server = made(endpoint)
    with running(server):
        endpoint.producer().message_work(1)
        wait_until(lambda: server.counts["failed"] == 1, SOON)
    wait_until(lambda: raw.count(endpoint.queue) == 1, SOON)


def test_a_parking_queue_that_is_deleted_is_made_again(endpoint, raw):
    server, producer = made(endpoint), endpoint.producer()
    with running(server):
        producer.message_work(1)
        taken(raw, endpoint)
        raw.channel.queue_delete(parked(endpoint))
        producer.message_work(2)
        assert taken(raw, endpoint).value["content"]["parameters"] == 2


def test_a_delay_queue_that_is_deleted_is_made_again(endpoint, raw):
    server = made(endpoint, failures=2, retry=Retry(delays=(0.1, 0.1), jitter=0))
    with running(server):
        producer = endpoint.producer()
        producer.message_work(1)
        wait_until(lambda: len(server.seen) == 3, SOON)
        raw.channel.queue_delete("postage.delay.0.1s")
        server.failures = 1
        producer.message_work(2)
        wait_until(lambda: len(server.seen) == 5, SOON)


def test_delay_queues_are_shared_and_stay(endpoint, raw):
    """One that expired would be deleted with its messages: what we do does not count as use."""
    policy = Retry(delays=(0.28,), jitter=0)  # as no other test
    servers = [
        made(endpoint, endpoint.at((endpoint.sub(str(n)), str(n))), failures=1, retry=policy)
        for n in range(3)
    ]
    with running(*servers):
        for n in range(3):
            endpoint.producer().message_work(1, _key=str(n))
        wait_until(lambda: all(len(each.seen) == 2 for each in servers), SOON)
    with pytest.raises(pika.exceptions.ChannelClosedByBroker, match="x-expires"):
        raw.channel.queue_declare(
            "postage.delay.0.28s",
            durable=True,
            arguments={
                "x-queue-type": "quorum",
                "x-message-ttl": 280,
                "x-dead-letter-exchange": "postage.delay.due",
                "x-dead-letter-strategy": "at-least-once",
                "x-overflow": "reject-publish",
                "x-expires": 60_000,
            },
        )


@pytest.mark.parametrize(
    ("size", "left_out"),
    [(130_000, ["big", "x-postage-traceback"]), (128_500, ["x-postage-traceback"]), (1000, [])],
)
def test_a_copy_fits_into_a_frame(endpoint, raw, size: int, left_out: list[str]):
    """Large headers leave less room for the dossier; the message is parked all the same."""
    raw.declare(endpoint.queue)
    body = messaging.JsonEncoder.encode(messaging.MessageCommand("work").body).encode()
    with running(made(endpoint, error=ValueError("y" * 1000))):  # the traceback has it, too
        raw.put(endpoint.queue, body, headers={"big": "x" * size})
        headers = taken(raw, endpoint).properties.headers
    assert headers["x-postage-why"] == "failed"
    assert [name for name in ("big", "x-postage-traceback") if name not in headers] == left_out


def test_a_copy_fits_into_the_smallest_frame(endpoint, raw, broker_env, monkeypatch):
    monkeypatch.setattr(Codec, "frame_max", 4096)
    with running(made(endpoint, error=ValueError("\u6f22" * 2000))):
        endpoint.producer().message_work(1)
        headers = taken(raw, endpoint).properties.headers
    assert headers["x-postage-queue"] == endpoint.queue
    assert headers["x-postage-exception"] == "builtins.ValueError"
    assert "x-postage-traceback" not in headers


def test_a_queue_with_the_longest_name_has_a_parking_queue(endpoint, raw):
    name = f"{endpoint.queue}-{'q' * 250}"[:255]
    server = made(endpoint, endpoint.at((name, endpoint.key)))
    with running(server):
        endpoint.producer().message_work(1)
        wait_until(lambda: server.counts["parked"] == 1, SOON)
    assert raw.take(f"{name[:248]}.parked").properties.headers["x-postage-queue"] == name


def test_headers_that_nobody_can_read_are_no_excuse(endpoint, raw):
    too_far = struct.pack(">B4scQ", 4, b"when", b"T", 1 << 60)
    header = Properties(headers=struct.pack(">I", len(too_far)) + too_far).encode()
    delivery = Delivery("tag", 1, False, "exchange", "key", 0.0)
    delivery.header = header
    found = keeping.copied_properties(delivery, {"x-postage-why": "failed"}, 500)
    assert found.headers == {"x-postage-why": "failed"}


ODD_HEADERS = {
    b"f": b"f" + struct.pack(">f", 1.5),
    b"d": b"d" + struct.pack(">d", 2.5),
    b"byte": b"b\xff",
    b"short": b"s\xff\xfb",
    b"huge": b"L" + bytes([255] * 8),
    b"list": b"A" + struct.pack(">I", 9) + b"d" + struct.pack(">d", 2.5),
    b"table": b"F" + struct.pack(">I", 7) + b"\x01af" + struct.pack(">f", 0.5),
    b"no text": b"S" + struct.pack(">I", 2) + b"\xff\xfe",
    b"none": b"V",
}


def test_headers_of_a_copy_are_those_that_came():
    """pika reads a float as an integer: 1.5 would become 1."""
    fields = [bytes([len(name)]) + name + value for name, value in ODD_HEADERS.items()]
    theirs = b"".join([*fields[:4], b"\x07x-deathV", *fields[4:], b"\x0dpostage-delayV"])
    delivery = Delivery("tag", 1, False, "exchange", "key", 0.0)
    delivery.header = Properties(headers=struct.pack(">I", len(theirs)) + theirs).encode()
    found = keeping.copied_properties(delivery, {"mine": 1}, 500)
    table = b"".join(fields) + b"\x04mineI\x00\x00\x00\x01"
    assert found.encode()[2:] == struct.pack(">I", len(table)) + table + b"\x02"


def test_properties_of_a_copy_leave_out_what_the_broker_wrote():
    delivery = Delivery("tag", 1, False, "exchange", "key", 0.0)
    delivery.header = Properties(
        headers={"x-death": [], "x-first-death-queue": "q", "x-delivery-count": 3, "mine": 1},
        user_id="guest",
        expiration="5",
        priority=4,
    ).encode()
    found: Any = keeping.copied_properties(delivery, {"x-postage-why": "failed"}, 500)
    decoded = Properties.decode(found.encode()).as_dict()
    assert decoded == {
        "delivery_mode": 2,
        "priority": 4,
        "headers": {
            "mine": 1,
            "x-postage-why": "failed",
            "x-postage-user-id": "guest",
            "x-postage-expiration": "5",
        },
    }


def test_a_parking_queue_cannot_fill_the_broker(endpoint, raw, monkeypatch):
    monkeypatch.setattr(keeping, "MAX_PARKED", 3000)
    server, producer = made(endpoint, endpoint.eqk, error=GiveUp), endpoint.producer()
    with running(server):
        for number in range(20):
            producer.message_work([number, "x" * 1000])
        wait_until(lambda: server.counts["parked"] == 20, SOON)
    assert raw.count(endpoint.queue) == 0
    wait_until(lambda: 0 < raw.count(parked(endpoint)) <= 3, SOON)


def test_a_quorum_queue_parks_into_a_quorum_queue(endpoint: Endpoint, raw: Raw):
    eqk = endpoint.at((green.Quorum(endpoint.queue), endpoint.key))
    with running(made(endpoint, eqk, retry=Retry(delays=(0.1,)))):
        endpoint.producer().message_work(1)
        assert json.loads(taken(raw, endpoint).body)["name"] == "work"
    with pytest.raises(pika.exceptions.ChannelClosedByBroker, match="quorum"):
        raw.declare(parked(endpoint))
