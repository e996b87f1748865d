"""The order in which many deliveries come back at once, of several consumers and basic.get."""

from __future__ import annotations

import pytest

from postage.broker.core.clock import ManualTimers
from postage.broker.core.likeness import LIKENESSES, likeness_of
from postage.broker.session.node import Node
from tests.support.core import drain
from tests.support.frame_client import FrameClient

TAKEN = [str(number).encode() for number in range(1, 11)]
"""Delivery 2 goes to consumer "b", 3 to consumer "a", which is younger, the others to basic.get."""
SETTLED = [1, 4, 5, 6, 7, 8, 9, 10, 3, 2]
LOST = {"4.3": [2, 3, 1, 10, 4, 5, 6, 7, 8, 9], "3.10": [1, 10, 4, 5, 6, 7, 8, 9, 3, 2]}


def come_back(like: str, kind: str, how: str) -> list[bytes]:
    """Return the messages of a queue of this *kind* after the deliveries came back."""
    node = Node(ManualTimers(), likeness=likeness_of(like))
    client = FrameClient(node).open(1)
    client.call("queue.declare", 1, queue="q", arguments={"x-queue-type": kind})
    client.call("basic.qos", 1, prefetch_count=1)
    if how == "commit":
        client.call("tx.select", 1)
    for data in TAKEN:
        client.publish("q", data)
    if how == "commit":
        client.call("tx.commit", 1)
    client.send_method("basic.get", 1, queue="q")
    for tag in ("b", "a"):
        client.send_method("basic.consume", 1, queue="q", consumer_tag=tag)
        client.send_method("basic.cancel", 1, consumer_tag=tag)
    for _ in range(7):
        client.send_method("basic.get", 1, queue="q")
    client.receive()
    assert client.bodies == TAKEN
    if how == "recover":
        client.call("basic.recover", 1, requeue=True)
    elif how in ("nack", "commit"):
        client.send_method("basic.nack", 1, delivery_tag=0, multiple=True, requeue=True)
        if how == "commit":
            client.call("tx.commit", 1)
    elif how == "channel":
        client.call("channel.close", 1)
    else:
        client.connection.abort()
    return drain(node.vhosts["/"].queues["q"])


@pytest.mark.parametrize("like", LIKENESSES)
@pytest.mark.parametrize("how", ["recover", "nack", "commit"])
def test_what_a_client_gives_back(like: str, how: str) -> None:
    assert come_back(like, "quorum", how) == [TAKEN[number - 1] for number in SETTLED]


@pytest.mark.parametrize("like", LIKENESSES)
@pytest.mark.parametrize("how", ["channel", "connection"])
def test_what_a_channel_had_at_its_end(like: str, how: str) -> None:
    assert come_back(like, "quorum", how) == [TAKEN[number - 1] for number in LOST[like]]


@pytest.mark.parametrize("like", LIKENESSES)
@pytest.mark.parametrize("how", ["recover", "nack", "commit", "channel", "connection"])
def test_classic_queues_keep_their_order(like: str, how: str) -> None:
    assert come_back(like, "classic", how) == TAKEN
