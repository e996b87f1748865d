"""Delayed retries: quorum queues of RabbitMQ 4.3 hold returned messages for a while."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from postage.broker.core.clock import ManualTimers
from postage.broker.core.queue import Return
from postage.broker.session.node import Node
from tests.broker.quorum_consumer import MANY, QUORUM, Consumer
from tests.support.core import drain, fill, new_queue
from tests.support.frame_client import FrameClient


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
