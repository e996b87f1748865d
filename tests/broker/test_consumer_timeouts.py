"""Consumer timeouts: a consumer that leaves a delivery unsettled for too long is cancelled."""

from __future__ import annotations

from typing import Any

import pytest

from postage.broker.core.clock import ManualTimers
from postage.broker.core.likeness import LIKENESSES, likeness_of
from postage.broker.session.node import Node
from postage.broker.wire.content import decode_properties
from tests.broker.quorum_consumer import QUORUM
from tests.support.core import drain
from tests.support.frame_client import FrameClient, names_of


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
