"""Quorum queues: the order of their messages, what they refuse, and when they expire."""

from __future__ import annotations

from typing import Any

import pytest

from postage.broker.core.clock import ManualTimers
from postage.broker.core.likeness import LIKENESSES, likeness_of
from postage.broker.core.queue import Return
from postage.broker.session.node import Node
from tests.broker.quorum_consumer import QUORUM, Consumer
from tests.support.core import drain, fill, new_queue
from tests.support.frame_client import FrameClient, closed_with


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


@pytest.mark.parametrize("like", LIKENESSES)
def test_messages_of_a_closed_channel_are_first_again(like: str) -> None:
    consumer = Consumer(like)
    consumer.client.publish("q", b"later")
    consumer.counts()
    consumer.give_back("channel")
    assert drain(consumer.queue)[-1] == b"later"


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


# --- messages that expire


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


EXPIRING = {**QUORUM, "x-expires": 1000}


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
