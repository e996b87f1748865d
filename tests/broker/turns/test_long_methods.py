"""One method of a client can cause any amount of work, during which others are served."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from postage.broker.core.backlog import AT_ONCE
from postage.broker.core.vhost import VHost
from postage.broker.session.node import Node
from tests.broker.turns.clock import MANY, TURNS, Turns
from tests.support.core import fill, new_fanout_queue, new_queue
from tests.support.frame_client import FrameClient, names_of


@pytest.fixture
def other(node: Node) -> FrameClient:
    """Another client, which does ordinary things meanwhile."""
    client = FrameClient(node).open(1)
    client.call("queue.declare", 1, queue="other")
    return client


def is_served(other: FrameClient) -> bool:
    """Tell whether *other* gets its answers."""
    other.publish("other")
    found = other.call("basic.get", 1, queue="other", no_ack=True)
    return bool(found.method.name == "basic.get_ok")


def take(client: FrameClient, timers: Turns, count: int) -> None:
    """Let *client* hold *count* messages of the queue q."""
    client.call("queue.declare", 1, queue="q")
    fill(client.node.vhosts["/"].queues["q"], *[b"m"] * count)
    client.send_method("basic.consume", 1, queue="q", consumer_tag="c")
    while client.receive():
        client.connection.resume()
        timers.all()
    assert client.node.vhosts["/"].queues["q"].unacked == count
    client.send_method("basic.cancel", 1, consumer_tag="c")


def nack(client: FrameClient) -> None:
    client.send_method("basic.nack", 1, multiple=True, requeue=True)


def recover(client: FrameClient) -> None:
    client.send_method("basic.recover", 1, requeue=True)


def close_channel(client: FrameClient) -> None:
    client.send_method("channel.close", 1)


def leave(client: FrameClient) -> None:
    client.connection.close()


def lose(client: FrameClient) -> None:
    client.connection.abort()


@pytest.mark.parametrize("settle", [nack, recover, close_channel, leave, lose])
def test_many_deliveries_return_in_turns(
    client: FrameClient,
    timers: Turns,
    node: Node,
    other: FrameClient,
    settle: Callable[[FrameClient], None],
) -> None:
    take(client, timers, MANY)
    settle(client)
    queue = node.vhosts["/"].queues["q"]
    assert len(queue) == AT_ONCE
    assert is_served(other)
    assert timers.all() >= TURNS - 1
    assert (len(queue), queue.unacked) == (MANY, 0)
    assert queue.purge() == MANY
    timers.all()
    client.receive()
    assert node.memory == 0


@pytest.mark.parametrize("method", ["basic.ack", "basic.nack"])
def test_many_deliveries_are_settled_in_turns(
    client: FrameClient, timers: Turns, node: Node, other: FrameClient, method: str
) -> None:
    take(client, timers, MANY)
    client.send_method(method, 1, multiple=True)
    assert node.memory
    assert is_served(other)
    assert timers.all() >= TURNS - 1
    assert node.memory == node.vhosts["/"].queues["q"].unacked == 0


@pytest.mark.parametrize("method", ["queue.purge", "queue.delete"])
def test_many_messages_are_freed_in_turns(
    client: FrameClient, timers: Turns, node: Node, other: FrameClient, method: str
) -> None:
    client.call("queue.declare", 1, queue="q")
    fill(node.vhosts["/"].queues["q"], *[b"m"] * MANY)
    assert client.call(method, 1, queue="q").message_count == MANY
    assert node.memory
    assert is_served(other)
    timers.all()
    assert node.memory == 0


def test_many_copies_are_put_in_turns_and_charged(
    client: FrameClient, timers: Turns, node: Node, virtual_host: VHost
) -> None:
    for n in range(MANY):
        new_fanout_queue(virtual_host, f"q{n}")
    client.call("confirm.select", 1)
    client.publish("", exchange="amq.fanout")
    assert names_of(client.receive()) == ["basic.ack"]
    charged = node.memory
    assert sum(map(len, virtual_host.queues.values())) <= AT_ONCE
    for n in range(MANY - 100, MANY):
        virtual_host.remove_queue(virtual_host.queues[f"q{n}"])
    timers.all()
    assert sum(map(len, virtual_host.queues.values())) == MANY - 100
    assert node.memory == charged * (MANY - 100) // MANY
    for queue in list(virtual_host.queues.values()):
        virtual_host.remove_queue(queue)
    timers.all()
    assert node.memory == 0


@pytest.mark.parametrize("end", [None, close_channel, lose])
def test_a_long_transaction_is_committed_in_turns(
    client: FrameClient,
    timers: Turns,
    node: Node,
    other: FrameClient,
    end: Callable[[FrameClient], None] | None,
) -> None:
    client.call("queue.declare", 1, queue="q")
    client.call("tx.select", 1)
    for _ in range(MANY):
        client.publish("q")
    client.publish("nowhere", mandatory=True)
    client.send_method("tx.commit", 1)
    queue = node.vhosts["/"].queues["q"]
    assert len(queue) == AT_ONCE
    assert is_served(other)
    if end is not None:
        end(client)
    timers.all()
    assert len(queue) == MANY
    queue.purge()
    client.receive()
    timers.all()
    assert (node.memory, node.held) == (0, 0)


def test_copies_in_a_transaction_are_charged_before_the_commit(
    client: FrameClient, node: Node, virtual_host: VHost
) -> None:
    for n in range(100):
        new_fanout_queue(virtual_host, f"q{n}")
    client.call("tx.select", 1)
    client.publish("", b"x" * 1000, exchange="amq.fanout")
    before = node.memory
    client.send_method("tx.commit", 1)
    assert node.memory <= before
    assert node.memory > 100 * 1000


def test_many_exclusive_queues_go_in_turns(
    client: FrameClient, timers: Turns, node: Node, virtual_host: VHost, other: FrameClient
) -> None:
    before = node.definitions
    for n in range(MANY):
        new_queue(virtual_host, f"q{n}", owner=client.connection)
        fill(virtual_host.queues[f"q{n}"], b"m")
    client.connection.close()
    assert len(virtual_host.queues) > MANY // 4
    assert is_served(other)
    timers.all()
    assert list(virtual_host.queues) == ["other"]
    assert node.memory == 0
    assert node.definitions < before


@pytest.mark.parametrize("end", ["queue.delete", "connection"])
def test_many_consumers_go_in_turns(
    client: FrameClient, timers: Turns, node: Node, other: FrameClient, end: str
) -> None:
    other.call("queue.declare", 1, queue="q")
    before = node.definitions
    for n in range(MANY):
        client.send_method("basic.consume", 1, queue="q", consumer_tag=f"c{n}", no_ack=True)
    client.receive()
    if end == "connection":
        client.connection.close()
        fill(node.vhosts["/"].queues["q"], b"m")
        assert len(node.vhosts["/"].queues["q"]) == 1, "consumers that are gone get nothing"
    else:
        other.call("queue.delete", 1, queue="q")
        assert len(client.receive()) <= AT_ONCE
    assert is_served(other)
    timers.all()
    if end == "connection":
        assert not node.vhosts["/"].queues["q"].consumers
    assert node.definitions < before


def test_a_rollback_keeps_the_order_of_the_tags(client: FrameClient, timers: Turns) -> None:
    take(client, timers, 5)
    client.receive()
    client.call("tx.select", 1)
    for tag in (4, 2, 5):
        client.send_method("basic.ack", 1, delivery_tag=tag)
    client.call("tx.rollback", 1)
    client.send_method("basic.ack", 1, delivery_tag=3, multiple=True)
    client.call("tx.commit", 1)
    assert client.node.vhosts["/"].queues["q"].unacked == 2
