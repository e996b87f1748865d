"""A message that would not fit a frame, or cannot be read, concerns no other message.

Brokers add headers to what publishers wrote, without a look at frame_max.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import gevent.event
import pytest

from postage import green, messaging
from postage.testing.polling import wait_until
from postage.values import MAX_BODY
from tests.support.endpoints import Endpoint
from tests.support.raw import Raw
from tests.support.running import SOON, consuming, running, warm

pytestmark = pytest.mark.usefixtures("broker_env")

FRAME = 131_072
FIRST = json.dumps(messaging.MessageCommand("first").body).encode()


class Taker(messaging.MessageProcessor):
    """Notes what it gets; `first` waits."""

    shutdown_timeout = 0.1

    def __init__(self, *args: Any) -> None:
        self.begun, self.may_end = 0, gevent.event.Event()
        super().__init__(*args)

    @messaging.MessageHandler("command", "first")
    def first(self, content: Any) -> None:
        self.begun += 1
        self.may_end.wait()

    @messaging.RpcHandler("command", "echo")
    def echo(self, content: Any, reply_func: Any) -> None:
        reply_func(content["parameters"])

    @property
    def done(self) -> int:
        """How many odd messages were handled or rejected."""
        return self.begun + self.counts["malformed"]


def reject_from(raw: Raw, queue: str) -> None:
    """Wait for a message in *queue*, and make it a dead letter."""
    taken: list[Any] = []

    def take() -> bool:
        method, _, _ = raw.channel.basic_get(queue)
        taken.extend([] if method is None else [method.delivery_tag])
        return bool(taken)

    wait_until(take, SOON)
    raw.channel.basic_reject(taken[0], requeue=False)


def by_dead_letter(raw: Raw, to: tuple[str, str], body: bytes = FIRST, **properties: Any) -> None:
    """Publish a message to the exchange and key *to*, as one that a queue has rejected."""
    names = ("x-dead-letter-exchange", "x-dead-letter-routing-key")
    work = raw.declare("", arguments=dict(zip(names, to, strict=True)), exclusive=True)
    raw.put(work, body, **properties)
    reject_from(raw, work)


def by_two_dead_letters(raw: Raw, endpoint: Endpoint) -> None:
    """Put a message into the queue of which RabbitMQ writes all keys to x-death, twice."""
    first, second = endpoint.sub("hop-1"), endpoint.sub("hop-2")
    raw.channel.exchange_declare(second, "fanout", durable=True)
    raw.declare(first, arguments={"x-dead-letter-exchange": second})
    raw.declare(second, arguments={"x-dead-letter-exchange": endpoint.exchange.name})
    raw.channel.queue_bind(second, second)
    keys = [endpoint.key, *(f"{number:0200}" for number in range(600))]
    raw.put(first, FIRST, headers={"CC": keys})
    reject_from(raw, first)
    reject_from(raw, second)


def nested(depth: int) -> dict[str, Any]:
    """Return tables in tables, *depth* of them."""
    table: dict[str, Any] = {}
    for _ in range(depth):
        table = {"t": table}
    return table


Put = Callable[[Raw, Endpoint], None]
ODD: dict[str, Put] = {
    "a header that x-death makes too long": lambda raw, at: by_dead_letter(
        raw, (at.exchange.name, at.key), headers={"z": "z" * (FRAME - 200)}
    ),
    "600 keys, twice in x-death": by_two_dead_letters,
    "a header of exactly a frame": lambda raw, at: raw.put(
        at.queue, FIRST, headers={"z": "z" * (FRAME - 37)}
    ),
    "tables in tables": lambda raw, at: raw.put(at.queue, FIRST, headers=nested(12)),
    "a time that no date can be": lambda raw, at: raw.put(at.queue, FIRST, timestamp=2**64 - 1),
    "a body over max_body": lambda raw, at: raw.put(at.queue, bytes(MAX_BODY + 1)),
}


def losses() -> int:
    """Return how many connections of this process were lost."""
    return sum(each.losses for each in green.statistics())


@pytest.fixture
def taker(endpoint: Endpoint) -> Iterator[Taker]:
    taker = Taker({"name": "taker"}, endpoint.eqk)
    with running(taker):
        yield taker
        taker.may_end.set()


@pytest.mark.parametrize("what", ODD)
def test_it_concerns_no_other_message(
    raw: Raw, endpoint: Endpoint, taker: Taker, what: str
) -> None:
    producer = endpoint.producer()
    warm(producer)
    before = losses()

    ODD[what](raw, endpoint)

    wait_until(lambda: taker.done == 1, SOON)
    assert producer.rpc_echo("alive").value == "alive"
    assert losses() == before
    assert raw.count(endpoint.queue) == 0


@pytest.mark.parametrize("size", [FRAME - 60, FRAME - 40, FRAME - 29])
def test_a_delivery_count_may_make_it_too_long(raw: Raw, endpoint: Endpoint, size: int) -> None:
    quorum = {"name": endpoint.queue, "flags": {"arguments": {"x-queue-type": "quorum"}}}
    first = Taker({"name": "first"}, endpoint.at((quorum, endpoint.key)))
    second = Taker({"name": "second"}, endpoint.at((quorum, endpoint.key)))
    before = losses()
    with running(first):
        raw.put(endpoint.queue, FIRST, headers={"z": "z" * size})
        wait_until(lambda: first.done == 1, SOON)
    with running(second):
        wait_until(lambda: second.done == 1, SOON)
        assert endpoint.producer().rpc_echo("alive").value == "alive"
        second.may_end.set()
    assert losses() == before


def test_a_classic_consumer_gets_it_and_goes_on(raw: Raw, endpoint: Endpoint) -> None:
    consumer = messaging.GenericConsumer(endpoint.eqk)
    before = losses()
    with consuming(consumer) as got:
        to = endpoint.exchange.name, endpoint.key
        by_dead_letter(raw, to, headers={"z": "z" * (FRAME - 200)})
        wait_until(lambda: len(got) == 1, SOON)
        raw.put(endpoint.queue, b"next")
        wait_until(lambda: len(got) == 2, SOON)

    (_, _, header, body), (_, _, _, body_of_next) = got
    assert (body, body_of_next) == (FIRST, b"next")
    assert header.headers["z"] == "z" * (FRAME - 200)
    assert losses() == before


def test_a_body_over_max_body_is_not_collected(raw: Raw, endpoint: Endpoint) -> None:
    taker = Taker({"name": "taker"}, endpoint.strict)
    raw.declare(endpoint.dead)
    taker.consumer.max_body = 1000
    with running(taker):
        raw.put(endpoint.queue, bytes(1001))
        raw.put(endpoint.queue, bytes(3 * FRAME))
        assert [len(raw.take(endpoint.dead).body) for _ in range(2)] == [1001, 3 * FRAME]
        assert taker.counts["malformed"] == 2
        assert endpoint.producer().rpc_echo("alive").value == "alive"


@pytest.mark.usefixtures("queues_for_replies")
def test_a_reply_that_is_too_long_reaches_its_call(raw: Raw, endpoint: Endpoint) -> None:
    producer = endpoint.producer()
    server = raw.declare(endpoint.queue)
    raw.channel.exchange_declare(**endpoint.exchange.parameters)
    raw.channel.queue_bind(server, endpoint.exchange.name, endpoint.key)
    before = losses()
    for _ in range(2):  # the first reply comes to a queue of its own
        call = gevent.spawn(producer.rpc_echo, "x")
        request = raw.take(server).properties
        by_dead_letter(
            raw,
            ("", request.reply_to),
            json.dumps(messaging.MessageResult("x").body).encode(),
            correlation_id=request.correlation_id,
            headers={"z": "z" * (FRAME - 200)},
        )
        assert call.get(timeout=SOON).value == "x"
    assert losses() == before
