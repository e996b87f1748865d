"""Quorum queues: counts of deliveries, delivery limits, priorities, order, delayed retries."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from postage.broker.core.clock import ManualTimers
from postage.broker.core.likeness import LIKENESSES, likeness_of
from postage.broker.core.queue import BrokerQueue, Return
from postage.broker.session.node import Node
from postage.broker.wire.content import decode_properties
from tests.support.core import drain, fill, message, new_queue
from tests.support.frame_client import FrameClient, closed_with, names_of

QUORUM = {"x-queue-type": "quorum"}
MANY = 30
"""Deliveries after which a message is taken to come back for ever."""

EXPIRING = {**QUORUM, "x-expires": 1000}

Counts = tuple[int | None, int | None]
"""The headers x-delivery-count and x-acquired-count of a delivery."""


class Consumer:
    """A client with the quorum queue "q", which takes its only message again and again."""

    def __init__(self, like: str, **arguments: Any) -> None:
        self.node = Node(ManualTimers(), likeness=likeness_of(like))
        self.client = FrameClient(self.node).open(1)
        self.client.call("queue.declare", 1, queue="q", arguments={**QUORUM, **arguments})
        self.client.publish("q")
        self.tag = 0

    @property
    def queue(self) -> BrokerQueue:
        return self.node.vhosts["/"].queues["q"]

    def counts(self) -> Counts | None:
        """Return the counts of the next delivery; None if there is no message."""
        entry = self.queue._head()
        answer = self.client.call("basic.get", 1, queue="q")
        if answer.method.name == "basic.get_empty":
            return None
        assert entry is not None
        self.tag = answer.delivery_tag
        headers = decode_properties(self.queue.header_of(entry, is_got=True)).get("headers") or {}
        assert answer.redelivered is (entry.deliveries > 1)
        return headers.get("x-delivery-count"), headers.get("x-acquired-count")

    def give_back(self, how: str) -> None:
        """Return the message to its queue."""
        if how == "nack":
            self.client.send_method("basic.nack", 1, delivery_tag=self.tag, requeue=True)
        elif how == "reject":
            self.client.send_method("basic.reject", 1, delivery_tag=self.tag, requeue=True)
        elif how == "recover":
            self.client.call("basic.recover", 1, requeue=True)
        elif how == "channel":
            self.client.call("channel.close", 1)
            self.client.call("channel.open", 1)
        else:
            self.client.connection.abort()
            self.client = FrameClient(self.node).open(1)

    def deliveries(self, how: str) -> list[Counts]:
        """Return the counts of all deliveries, of `MANY` at most."""
        found = []
        while len(found) < MANY and (counts := self.counts()) is not None:
            found.append(counts)
            self.give_back(how)
        return found


FAILURES = ("reject", "channel", "connection")
RETURNS = ("nack", "recover")


@pytest.mark.parametrize("how", FAILURES)
@pytest.mark.parametrize(("arguments", "limit"), [({}, 20), ({"x-delivery-limit": 3}, 3)])
def test_failures_count(how: str, arguments: dict[str, Any], limit: int) -> None:
    expected = [(None, None), *((n, n) for n in range(1, limit + 1))]
    assert Consumer("4.3", **arguments).deliveries(how) == expected


@pytest.mark.parametrize("how", RETURNS)
@pytest.mark.parametrize("limit", [{}, {"x-delivery-limit": 3}, {"x-delivery-limit": -1}])
def test_other_returns_do_not_count(how: str, limit: dict[str, Any]) -> None:
    expected = [(None, None), *((None, n) for n in range(1, MANY))]
    assert Consumer("4.3", **limit).deliveries(how) == expected


@pytest.mark.parametrize("how", [*FAILURES, *RETURNS])
@pytest.mark.parametrize(
    ("limit", "delivered"), [({}, MANY), *(({"x-delivery-limit": n}, n + 1) for n in (0, 3))]
)
def test_every_return_counts_in_3_10(how: str, limit: dict[str, Any], delivered: int) -> None:
    expected = [(n, None) for n in range(delivered)]
    assert Consumer("3.10", **limit).deliveries(how) == expected


@pytest.mark.parametrize(
    ("like", "limit", "delivered"),
    [
        ("4.3", -1, MANY),
        ("4.3", -2, MANY),
        ("4.3", 0, 1),
        ("4.3", "a", 21),
        ("3.10", -1, 1),
        ("3.10", -2, 1),
        ("3.10", "a", MANY),
    ],
)
def test_odd_limits(like: str, limit: Any, delivered: int) -> None:
    found = Consumer(like, **{"x-delivery-limit": limit}).deliveries("reject")
    assert len(found) == delivered


def test_some_returns_count_and_some_do_not() -> None:
    consumer = Consumer("4.3")
    found = []
    for how in ("nack", "reject", "recover", "channel"):
        found.append(consumer.counts())
        consumer.give_back(how)
    assert [*found, consumer.counts()] == [(None, None), (None, 1), (1, 2), (1, 3), (2, 4)]


@pytest.mark.parametrize("like", LIKENESSES)
@pytest.mark.parametrize("target", [None, "dead"])
def test_beyond_the_limit(like: str, target: str | None) -> None:
    to = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": target} if target else {}
    consumer = Consumer(like, **to, **{"x-delivery-limit": 1})
    dead = new_queue(consumer.node.vhosts["/"], "dead")
    assert len(consumer.deliveries("reject")) == 2
    assert len(dead) == (1 if target else 0)
    if target:
        entry = dead.get()
        assert entry is not None
        assert entry.message.headers["x-death"][0]["reason"] == "delivery_limit"
        assert "x-delivery-count" not in entry.message.headers


@pytest.mark.parametrize("like", LIKENESSES)
def test_counts_of_a_client_are_replaced(like: str) -> None:
    node = Node(ManualTimers(), likeness=likeness_of(like))
    queue = new_queue(node.vhosts["/"], "q", QUORUM)
    queue.publish(message(headers={"x-delivery-count": 7, "x-acquired-count": 9}))
    for expected in {"4.3": [(7, 9), (1, 1)], "3.10": [(0, 9), (1, 9)]}[like]:
        entry = queue.get()
        assert entry is not None
        headers = decode_properties(queue.header_of(entry, is_got=True))["headers"]
        assert (headers["x-delivery-count"], headers["x-acquired-count"]) == expected
        queue.requeue(entry)


# --- order


@pytest.mark.parametrize(
    ("like", "arguments", "expected"),
    [
        ("4.3", QUORUM, [b"3", b"1", b"4", b"2", b"5"]),
        ("3.10", QUORUM, [b"5", b"3", b"1", b"4", b"2"]),
        ("4.3", {}, [b"1", b"2", b"3", b"4", b"5"]),
        ("3.10", {}, [b"1", b"2", b"3", b"4", b"5"]),
    ],
)
def test_the_order_of_returned_messages(like: str, arguments: Any, expected: list[bytes]) -> None:
    node = Node(ManualTimers(), likeness=likeness_of(like))
    queue = new_queue(node.vhosts["/"], "q", arguments)
    fill(queue, b"1", b"2", b"3", b"4", b"5")
    taken = [entry for _ in range(4) if (entry := queue.get()) is not None]
    for at in (2, 0, 3, 1):
        queue.requeue(taken[at], Return.GIVEN_BACK)
    assert drain(queue) == expected
    assert (len(queue), queue.body_bytes) == (0, 0)


PRIORITIES = (None, 0, 1, 3, 4, 5, 9, 20, 31, 40, 255)


@pytest.mark.parametrize(
    ("like", "expected"),
    [("4.3", [31, 40, 255, 20, 9, 5, None, 4, 3, 1, 0]), ("3.10", list(PRIORITIES))],
)
def test_priorities_of_messages(like: str, expected: list[int | None]) -> None:
    """RabbitMQ 4.3 has 32 of them, and messages without a priority have that of 4."""
    node = Node(ManualTimers(), likeness=likeness_of(like))
    queue = new_queue(node.vhosts["/"], "q", QUORUM)
    for priority in PRIORITIES:
        fill(queue, str(priority).encode(), priority=priority)
    assert drain(queue) == [str(priority).encode() for priority in expected]


def test_returned_messages_precede_any_priority() -> None:
    node = Node(ManualTimers())
    queue = new_queue(node.vhosts["/"], "q", QUORUM)
    fill(queue, b"low", priority=1)
    entry = queue.get()
    fill(queue, b"high", priority=9)
    assert entry is not None
    queue.requeue(entry)
    assert drain(queue) == [b"low", b"high"]


# --- delayed retries


def delayed(type_: Any = "all", **milliseconds: Any) -> dict[str, Any]:
    """Return the arguments of a queue."""
    times = {f"x-delayed-retry-{name}": value for name, value in milliseconds.items()}
    return {"x-delayed-retry-type": type_, **times}


@pytest.fixture
def delays(timers: ManualTimers, node: Node) -> Callable[..., list[float]]:
    """A function that returns after how many seconds a message comes back, each time."""

    def measured(arguments: dict[str, Any], *, failed: bool, times: int = 4) -> list[float]:
        queue = new_queue(node.vhosts["/"], "q", {**QUORUM, **arguments})
        fill(queue, b"m")
        found = []
        for _ in range(times):
            entry, waited = queue.get(), 0.0
            assert entry is not None
            queue.requeue(entry, Return.REJECTED if failed else Return.GIVEN_BACK)
            while not len(queue) and waited < 5:
                timers.advance(0.125)
                waited += 0.125
            found.append(waited)
        assert node.vhosts["/"].remove_queue(queue) == 1
        assert node.memory == 0
        return found

    return measured


@pytest.mark.parametrize(
    ("arguments", "of_failures", "of_returns"),
    [
        (delayed(min=250, max=625), [0.25, 0.5, 0.625, 0.625], [0.25] * 4),
        (delayed("failed", min=250, max=625), [0.25, 0.5, 0.625, 0.625], [0.0] * 4),
        (delayed("returned", min=250, max=625), [0.0] * 4, [0.25] * 4),
        (delayed("disabled", min=250, max=625), [0.0] * 4, [0.0] * 4),
        (delayed(min=250), [0.25] * 4, [0.25] * 4),
        (delayed(min=250, max=0), [0.25] * 4, [0.25] * 4),
        (delayed(min=500, max=125), [0.125] * 4, [0.125] * 4),
        (delayed(max=200), [0.0] * 4, [0.0] * 4),
        (delayed(min=0, max=100), [0.0] * 4, [0.0] * 4),
        (delayed(min="a"), [0.0] * 4, [0.0] * 4),
        (delayed("odd", min=250), [0.0] * 4, [0.0] * 4),
        (delayed(1, min=250), [0.0] * 4, [0.0] * 4),
        ({"x-delayed-retry-min": 250}, [0.0] * 4, [0.0] * 4),
    ],
)
def test_delays(
    delays: Callable[..., list[float]],
    arguments: dict[str, Any],
    of_failures: list[float],
    of_returns: list[float],
) -> None:
    assert delays(arguments, failed=True) == of_failures
    assert delays(arguments, failed=False) == of_returns


def test_rabbitmq_3_10_delays_nothing() -> None:
    consumer = Consumer("3.10", **delayed(min=60_000))
    assert len(consumer.deliveries("reject")) == MANY


def test_a_delayed_message_reaches_a_waiting_consumer(timers: ManualTimers, node: Node) -> None:
    client = FrameClient(node).open(1)
    arguments = {**QUORUM, **delayed(min=1000)}
    client.call("queue.declare", 1, queue="q", arguments=arguments)
    client.call("basic.consume", 1, queue="q")
    client.publish("q")
    (first,) = client.receive()
    client.send_method("basic.nack", 1, delivery_tag=first.delivery_tag, requeue=True)
    timers.advance(0.9)
    assert client.receive() == []
    timers.advance(0.2)
    (again,) = client.receive()
    assert (again.method.name, again.redelivered) == ("basic.deliver", True)


def test_delayed_messages_are_due_in_any_order(timers: ManualTimers, node: Node) -> None:
    queue = new_queue(node.vhosts["/"], "q", {**QUORUM, **delayed(min=1000, max=9000)})
    fill(queue, b"late", b"soon")
    late, soon = queue.get(), queue.get()
    assert late is not None
    assert soon is not None
    late.failures = 4
    queue.requeue(late)
    queue.requeue(soon)
    timers.advance(1)
    assert drain(queue) == [b"soon"]
    timers.advance(4)
    assert drain(queue) == [b"late"]


def test_delayed_messages_count_for_limits_and_purges(timers: ManualTimers, node: Node) -> None:
    arguments = {**QUORUM, **delayed(min=1000), "x-max-length": 2}
    queue = new_queue(node.vhosts["/"], "q", arguments)
    fill(queue, b"1", b"2")
    entry = queue.get()
    assert entry is not None
    queue.requeue(entry)
    assert len(queue) == 1
    fill(queue, b"3")
    assert len(queue) == 1  # "2" has made room
    timers.advance(1)
    assert drain(queue) == [b"1", b"3"]

    fill(queue, b"4", b"5")
    entry = queue.get()
    assert entry is not None
    queue.requeue(entry)
    assert queue.purge() == 2
    timers.advance(5)
    assert len(queue) == 0


def test_a_delayed_message_expires_when_it_is_due(timers: ManualTimers, node: Node) -> None:
    to = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead"}
    dead = new_queue(node.vhosts["/"], "dead")
    arguments = {**QUORUM, **delayed(min=1500), **to, "x-message-ttl": 500}
    queue = new_queue(node.vhosts["/"], "q", arguments)
    fill(queue, b"m")
    entry = queue.get()
    assert entry is not None
    queue.requeue(entry)
    timers.advance(1.4)
    assert len(dead) == 0
    timers.advance(0.2)
    assert drain(dead) == [b"m"]


def test_nothing_is_left_of_delayed_messages(timers: ManualTimers, node: Node) -> None:
    queue = new_queue(node.vhosts["/"], "q", {**QUORUM, **delayed(min=1000)})
    fill(queue, *[b"m"] * 5000)
    taken = [entry for _ in range(5000) if (entry := queue.get()) is not None]
    for entry in taken:
        queue.requeue(entry)
    assert node.memory > 5000 * 200
    timers.advance(1)
    assert len(queue) == 5000  # in several turns
    for entry in taken:
        assert queue.get() is not None
        queue.requeue(entry)
    node.vhosts["/"].remove_queue(queue)
    timers.advance(2)
    assert node.memory == 0


@pytest.mark.parametrize("like", LIKENESSES)
def test_messages_of_a_closed_channel_are_first_again(like: str) -> None:
    consumer = Consumer(like)
    consumer.client.publish("q", b"later")
    consumer.counts()
    consumer.give_back("channel")
    assert drain(consumer.queue)[-1] == b"later"


# --- what quorum queues refuse, and what they ignore


@pytest.mark.parametrize("like", LIKENESSES)
@pytest.mark.parametrize("flag", ["if_unused", "if_empty"])
def test_a_conditional_delete_is_refused(like: str, flag: str) -> None:
    client = Consumer(like).client
    client.call("queue.delete", 1, queue="none", **{flag: True})
    client.send_method("queue.delete", 1, queue="q", **{flag: True})
    text = f"operations with {flag.replace('_', '-')} flag set are not supported by quorum queues"
    closed_with(client, 540, text)


@pytest.mark.parametrize(("like", "name"), [("4.3", '<<"quorum">>'), ("3.10", "quorum")])
def test_no_get_with_a_single_active_consumer(like: str, name: str) -> None:
    client = Consumer(like, **{"x-single-active-consumer": True}).client
    refusal = client.call("basic.get", 1, queue="q")
    assert (refusal.method.name, refusal.reply_code) == ("channel.close", 405)
    expected = f"not supported by {name} queues with single active consumer"
    assert refusal.reply_text.endswith(expected)


def test_no_prefetch_by_channel_in_3_10() -> None:
    client = Consumer("3.10").client
    client.call("basic.qos", 1, prefetch_count=1, global_=True)
    client.send_method("basic.consume", 1, queue="q", consumer_tag="c")
    closed_with(client, 540, "queue 'q' in vhost '/' does not support global qos")


def test_a_prefetch_of_consumers_permits_them_in_3_10() -> None:
    client = Consumer("3.10").client
    client.call("basic.qos", 1, prefetch_count=1, global_=True)
    client.call("basic.qos", 1, prefetch_count=1)
    client.send_method("basic.consume", 1, queue="q", consumer_tag="c")

    assert client.receive()[0].method.name == "basic.consume_ok"


@pytest.mark.parametrize("like", LIKENESSES)
def test_no_consumer_is_exclusive(like: str) -> None:
    client = Consumer(like).client
    for tag in ("c", "d"):
        client.send_method("basic.consume", 1, queue="q", consumer_tag=tag, exclusive=True)
    client.receive()
    assert client.call("queue.declare", 1, queue="q", passive=True).consumer_count == 2


@pytest.mark.parametrize(("like", "headers"), [("4.3", [None, None]), ("3.10", [0, None])])
def test_only_a_get_shows_a_count_of_zero(like: str, headers: list[int | None]) -> None:
    queue = Consumer(like).queue
    entry = queue.get()
    assert entry is not None
    found = [
        decode_properties(queue.header_of(entry, is_got=is_got)).get("headers") or {}
        for is_got in (True, False)
    ]
    assert [each.get("x-delivery-count") for each in found] == headers


# --- consumer timeouts


@pytest.fixture
def watched(node: Node) -> FrameClient:
    """A client with two unacknowledged deliveries of "q", sent two seconds apart."""
    client = FrameClient(node).open(1)
    arguments = {**QUORUM, "x-consumer-timeout": 10_000}
    client.call("queue.declare", 1, queue="q", arguments=arguments)
    client.call("basic.consume", 1, queue="q", consumer_tag="c")
    client.publish("q", b"1")
    node.timers.advance(2)  # type: ignore[attr-defined]
    client.publish("q", b"2")
    assert [each.delivery_tag for each in client.receive()] == [1, 2]
    return client


def test_a_late_consumer_is_cancelled(watched: FrameClient, timers: ManualTimers) -> None:
    queue = watched.node.vhosts["/"].queues["q"]
    timers.advance(7.9)
    assert watched.receive() == []
    timers.advance(0.2)
    assert names_of(watched.receive()) == ["basic.cancel"]
    assert (len(queue), queue.unacked, queue.consumer_count) == (1, 1, 0)
    entry = queue.get()
    assert entry is not None
    assert decode_properties(queue.header_of(entry))["headers"] == {"x-acquired-count": 1}
    queue.discard(entry)
    timers.advance(2)  # the time of the second delivery is over, too
    assert watched.receive() == []
    assert (len(queue), queue.unacked) == (1, 0)


@pytest.mark.parametrize("how", ["basic.ack", "basic.nack", "basic.reject"])
def test_late_settlements_have_no_effect(
    watched: FrameClient, timers: ManualTimers, how: str
) -> None:
    queue = watched.node.vhosts["/"].queues["q"]
    timers.advance(20)
    assert names_of(watched.receive()) == ["basic.cancel"]
    for tag in (1, 2):
        watched.send_method(how, 1, delivery_tag=tag)
    assert watched.receive() == []
    assert drain(queue) == [b"1", b"2"]
    watched.send_method(how, 1, delivery_tag=2)
    assert watched.receive()[0].reply_text == "PRECONDITION_FAILED - unknown delivery tag 2"


def test_settled_deliveries_are_in_time(watched: FrameClient, timers: ManualTimers) -> None:
    watched.send_method("basic.ack", 1, delivery_tag=2, multiple=True)
    timers.advance(60)
    assert watched.receive() == []
    watched.publish("q")
    assert names_of(watched.receive()) == ["basic.deliver"]


@pytest.mark.parametrize("end", ["basic.cancel", "channel.close", "queue.delete", "connection"])
def test_what_ends_before_its_deliveries_time_out(
    watched: FrameClient, timers: ManualTimers, end: str
) -> None:
    if end == "connection":
        watched.connection.abort()
    else:
        arguments = {"queue.delete": {"queue": "q"}, "basic.cancel": {"consumer_tag": "c"}}
        watched.send_method(end, 1, **arguments.get(end, {}))
    watched.receive()
    timers.advance(60)
    assert watched.receive() == []
    queue = watched.node.vhosts["/"].queues.get("q")
    assert queue is None or (len(queue), queue.unacked) == (2, 0)


@pytest.mark.parametrize(("of_consumer", "is_late"), [({}, True), (60_000, False), (1000, True)])
def test_a_consumer_may_have_its_own_timeout(
    timers: ManualTimers, node: Node, of_consumer: Any, is_late: bool
) -> None:
    client = FrameClient(node).open(1)
    client.call("queue.declare", 1, queue="q", arguments={**QUORUM, "x-consumer-timeout": 5000})
    own = {"x-consumer-timeout": of_consumer} if of_consumer else {}
    client.call("basic.consume", 1, queue="q", arguments=own)
    client.publish("q")
    timers.advance(6)
    assert names_of(client.receive()) == ["basic.deliver"] + ["basic.cancel"] * is_late


@pytest.mark.parametrize("like", LIKENESSES)
def test_others_never_time_out(like: str) -> None:
    timers = ManualTimers()
    client = FrameClient(Node(timers, likeness=likeness_of(like))).open(1)
    for name, arguments in (("a", QUORUM), ("b", {})):
        client.call("queue.declare", 1, queue=name, arguments=arguments)
        client.call("basic.consume", 1, queue=name)
        client.publish(name)
        assert names_of(client.receive()) == ["basic.deliver"]
    timers.advance(24 * 3600)
    assert client.receive() == []


@pytest.mark.parametrize(("no_ack", "left"), [(False, 2), (True, 1)])
@pytest.mark.parametrize("like", LIKENESSES)
def test_expired_messages_in_the_answer_to_a_get(like: str, no_ack: bool, left: int) -> None:
    consumer = Consumer(like)
    client = consumer.client
    fill(consumer.queue, b"expired", expiration="0")
    fill(consumer.queue, b"last")
    assert client.call("basic.get", 1, queue="q", no_ack=no_ack).message_count == left
    assert client.call("queue.declare", 1, queue="q", passive=True).message_count == 1


@pytest.mark.parametrize("like", LIKENESSES)
@pytest.mark.parametrize("before", ["has come back", "has a higher priority"])
@pytest.mark.parametrize("ttl", [0, 5])
def test_messages_that_expire_behind_others(like: str, before: str, ttl: int) -> None:
    """RabbitMQ 4.3 removes them; 3.10 does so when they are the next ones."""
    timers = ManualTimers()
    node = Node(timers, likeness=likeness_of(like))
    queue = new_queue(node.vhosts["/"], "q", QUORUM)
    fill(queue, b"first", priority=9)
    if before == "has come back":
        entry = queue.get()
        assert entry is not None
        queue.requeue(entry)
    fill(queue, b"1", b"2", expiration=str(1000 * ttl))
    fill(queue, b"last")
    timers.advance(ttl - 1 if ttl else 0)
    assert len(queue) == (4 if ttl or like == "3.10" else 2)
    timers.advance(1)
    assert len(queue) == (2 if like == "4.3" else 4)
    assert drain(queue) == [b"first", b"last"]
    assert (len(queue), queue.body_bytes) == (0, 0)


# --- x-expires


@pytest.mark.parametrize("like", LIKENESSES)
@pytest.mark.parametrize("use", ["declare", "passive", "publish"])
def test_declaring_and_publishing_are_no_use(like: str, use: str) -> None:
    timers = ManualTimers()
    node = Node(timers, likeness=likeness_of(like))
    client = FrameClient(node).open(1)
    client.call("queue.declare", 1, queue="q", arguments=EXPIRING)
    timers.advance(0.8)
    if use == "publish":
        client.publish("q")
    else:
        client.call("queue.declare", 1, queue="q", passive=use == "passive", arguments=EXPIRING)
    assert "q" in node.vhosts["/"].queues
    timers.advance(0.3)
    assert "q" not in node.vhosts["/"].queues


@pytest.mark.parametrize("like", LIKENESSES)
@pytest.mark.parametrize("use", ["get", "consume"])
def test_taking_messages_is_use(like: str, use: str) -> None:
    timers = ManualTimers()
    node = Node(timers, likeness=likeness_of(like))
    client = FrameClient(node).open(1)
    client.call("queue.declare", 1, queue="q", arguments=EXPIRING)
    timers.advance(0.8)
    if use == "get":
        client.call("basic.get", 1, queue="q")
    else:
        client.call("basic.consume", 1, queue="q", consumer_tag="c")
        timers.advance(5)
        client.call("basic.cancel", 1, consumer_tag="c")
    timers.advance(0.8)
    assert "q" in node.vhosts["/"].queues
    timers.advance(0.3)
    assert "q" not in node.vhosts["/"].queues
