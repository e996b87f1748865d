"""The account of the broker: what clients make it keep is in it, and leaves it with them.

`tests.broker.accounting` tries many more sequences of clients.
"""

from __future__ import annotations

import gc
import tracemalloc
from typing import Any

import pytest

from postage.broker.core.clock import ManualTimers
from postage.broker.core.likeness import likeness_of
from postage.broker.session.handshake import Stage
from postage.broker.session.node import Node
from postage.broker.wire.framing import PROTOCOL
from postage.protocol import HEARTBEAT_FRAME
from tests.broker import accounting
from tests.broker.accounting import Campaign, account_of
from tests.broker.kept_things import (
    KINDS,
    Kind,
    arguments_of_bindings,
    arguments_of_exchanges,
    arguments_of_queues,
    bindings_between_exchanges,
    bodies_without_an_end,
    channels,
    half_a_frame,
    headers_in_a_transaction,
    headers_without_a_body,
    priorities_of_queues,
    tags_of_consumers,
    unread_answers_to_basic_get,
    unread_returned_messages,
    words_of_bindings,
)
from tests.support.frame_client import FrameClient, names_of, new_node


@pytest.mark.slow
def test_the_account_is_exact_after_hostile_sequences() -> None:
    campaign = Campaign()
    campaign.run(0, 200)
    assert campaign.sequences == 200
    assert campaign.blocked > 20, "publishers were hardly ever blocked"


def test_a_wrong_account_is_found_and_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    right = Node.define

    def define(node: Node, change: int) -> None:
        right(node, change + (change < -4000))  # a byte too few for something large

    monkeypatch.setattr(Node, "define", define)
    with pytest.raises(AssertionError, match=r"^sequence \d+: \d+ bytes, steps \["):
        Campaign().run(0, 200)


def test_a_bug_that_is_only_logged_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def dead_letter(*_: Any, **__: Any) -> None:
        raise TypeError("a bug")

    monkeypatch.setattr("postage.broker.core.dead_letters.dead_letter", dead_letter)
    with pytest.raises(AssertionError, match="TypeError: a bug"):
        Campaign().run(0, 200)


def test_what_something_else_still_refers_to_is_found() -> None:
    kept = []
    client = FrameClient(new_node()).open(1)
    campaign = Campaign()
    campaign.run(0, 1)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(accounting.Sequence, "check", lambda each: kept.append(each.clients))
        with pytest.raises(AssertionError, match=r"objects are left, such as <ClientConnection"):
            campaign.run(0, 1)
    assert client.stage is Stage.OPEN  # what was there before is not meant


# --- kinds of things that are kept

every_kind = pytest.mark.parametrize("keep", KINDS, ids=lambda keep: keep.__name__)


@every_kind
def test_what_is_kept_is_in_the_account(keep: Kind) -> None:
    keep(FrameClient(new_node()).open(1))  # fills the caches, which are bounded
    node = new_node()
    client = FrameClient(node).open(1)
    gc.collect()
    tracemalloc.start()
    try:
        keep(client)
        if not client.connection.deliveries_paused:
            client.connection.take_output()
        gc.collect()
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert client.stage is Stage.OPEN
    charged = node.memory + node.definitions
    assert 0.8 * kept < charged + 1000, f"{kept} bytes are kept, and {charged} in the account"


@every_kind
def test_what_was_kept_leaves_the_account(keep: Kind) -> None:
    node = new_node()
    before = account_of(node)
    client = FrameClient(node).open(1)
    keep(client)
    client.connection.abort()
    for vhost in node.vhosts.values():
        vhost.close()
    node.timers.advance(1.0)  # type: ignore[attr-defined]  # a manual clock
    assert account_of(node) == before == (0, 0, 0)


@pytest.mark.parametrize(
    "keep",
    [
        headers_in_a_transaction,
        unread_returned_messages,
        unread_answers_to_basic_get,
        headers_without_a_body,
        bodies_without_an_end,
        half_a_frame,
    ],
    ids=lambda keep: keep.__name__,
)
def test_who_holds_most_beyond_the_limit_is_ended(keep: Kind) -> None:
    node = new_node(memory=20_000, unsent=1 << 20)
    healthy, greedy = FrameClient(node).open(1), FrameClient(node).open(1)
    healthy.send_method("confirm.select", 1)
    healthy.receive()
    keep(greedy)
    assert node.held > node.limits.most_held
    node.timers.advance(0.0)  # type: ignore[attr-defined]
    assert greedy.stage in (Stage.CLOSING, Stage.CLOSED)
    assert (node.alarm, node.held <= node.limits.most_held) == (None, True)
    healthy.publish("nowhere")
    assert names_of(healthy.receive())[-1] == "basic.ack"


DEFINITIONS = (
    arguments_of_queues,
    arguments_of_exchanges,
    arguments_of_bindings,
    words_of_bindings,
    bindings_between_exchanges,
    tags_of_consumers,
    priorities_of_queues,
)


@pytest.mark.parametrize("keep", DEFINITIONS, ids=lambda keep: keep.__name__)
def test_definitions_beyond_the_limit_are_refused(
    monkeypatch: pytest.MonkeyPatch, keep: Kind
) -> None:
    monkeypatch.setattr("postage.broker.core.limits.LEAST_DEFINITIONS", 50_000)
    node = new_node(memory=1000)
    client, other = FrameClient(node).open(1), FrameClient(node).open(1)
    keep(client)
    closed = [each for each in client.receive() if each.method.name == "channel.close"]
    assert [each.reply_code for each in closed] == [406]
    assert node.definitions <= 50_000
    assert other.call("basic.qos", 1).method.name == "basic.qos_ok"


def test_channels_beyond_the_limit_end_their_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("postage.broker.core.limits.LEAST_DEFINITIONS", 50_000)
    client = FrameClient(new_node(memory=1000)).open(1)
    channels(client)
    assert client.receive()[-1].reply_code == 506


def test_work_that_waits_does_not_stop_the_broker() -> None:
    """Publishes of a large transaction are still held when their connection has ended."""
    node = new_node(memory=20_000)
    client = FrameClient(node).open(1)
    client.send_method("queue.declare", 1, queue="q")
    client.send_method("tx.select", 1)
    with accounting.small_sizes():
        for _ in range(20):
            client.publish("q", b"x" * 500)
        client.send_method("tx.commit", 1)
        client.connection.abort()
        assert node.held > node.limits.most_held
        node.timers.advance(0.0)  # type: ignore[attr-defined]
    assert (node.held, len(node.vhosts["/"].queues["q"])) == (0, 20)


def test_what_follows_the_greeting_is_not_kept() -> None:
    node = new_node()
    clients = [FrameClient(node) for _ in range(20)]
    heartbeats = HEARTBEAT_FRAME * 4000
    tracemalloc.start()
    try:
        for each in clients:
            each.send(PROTOCOL, heartbeats)
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert {each.stage for each in clients} == {Stage.STARTING}
    assert kept < 20 * len(heartbeats) / 2


# --- messages of deleted queues


def test_publishers_need_not_wait_for_a_deleted_queue() -> None:
    node = new_node(memory=20_000)
    publisher, consumer = FrameClient(node).open(1), FrameClient(node).open(1)
    publisher.send_method("queue.declare", 1, queue="q")
    for tag in (1, 2, 3):
        publisher.publish("q", b"x" * 7000)
        consumer.send_method("basic.get", 1, queue="q")
        assert consumer.receive()[-1].delivery_tag == tag
    assert names_of(publisher.receive())[-1] == "connection.blocked"
    consumer.call("queue.delete", 1, queue="q")
    node.timers.advance(1.0)  # type: ignore[attr-defined]
    assert names_of(publisher.receive()) == ["connection.unblocked"]
    for tag in (1, 2, 3):
        assert node.held == 200 * (4 - tag)
        consumer.send_method("basic.ack", 1, delivery_tag=tag)
    assert consumer.receive() == [], "the client may settle what it has received"
    assert node.memory == 0


@pytest.mark.parametrize("end", ["tx.commit", "tx.rollback"])
def test_a_transaction_may_settle_them(end: str) -> None:
    node = new_node()
    client = FrameClient(node).open(1)
    client.send_method("queue.declare", 1, queue="q")
    client.publish("q", b"x" * 7000)
    client.send_method("tx.select", 1)
    client.send_method("basic.get", 1, queue="q")
    client.send_method("basic.reject", 1, delivery_tag=1, requeue=True)
    client.send_method("queue.delete", 1, queue="q")
    node.timers.advance(1.0)  # type: ignore[attr-defined]
    assert node.memory == 200 + 400  # a delivery without a message, and the reject
    client.receive()
    assert names_of([client.call(end, 1)]) == [f"{end}_ok"]
    assert node.memory == (0 if end == "tx.commit" else 200)
    client.send_method("channel.close", 1)
    assert account_of(node) == (0, 0, 0)


def test_a_consumer_of_a_deleted_queue_has_room_again() -> None:
    node = Node(ManualTimers(), likeness=likeness_of("3.10"))
    client = FrameClient(node).open(1)
    for queue in ("a", "b"):
        client.send_method("queue.declare", 1, queue=queue)
        client.publish(queue, b"x")
    client.send_method("basic.qos", 1, prefetch_count=1, global_=True)
    for queue in ("a", "b"):
        client.send_method("basic.consume", 1, queue=queue, consumer_tag=queue)
    client.send_method("queue.delete", 1, queue="a")
    node.timers.advance(1.0)  # type: ignore[attr-defined]
    assert names_of(client.receive())[-1] == "queue.delete_ok"
    client.send_method("basic.nack", 1, delivery_tag=1, requeue=True)
    assert [each.consumer_tag for each in client.receive()] == ["b"]


# --- the alarm


def test_an_alarm_at_the_end_does_not_block_the_goodbye() -> None:
    node = new_node(memory=2500)
    client = FrameClient(node).open(1)
    client.publish("nowhere")
    for _ in range(60):
        client.send_method("basic.qos", 1)  # nobody reads the answers
    assert node.alarm is None, "they are sent in the next turn of the hub"
    client.send_method("queue.declare", 9)
    assert (client.stage, node.alarm) == (Stage.CLOSING, "low on memory")
    assert not client.connection.reading_paused, "the broker must see connection.close_ok"
    client.send_method("connection.close_ok")
    assert client.stage is Stage.CLOSED


def test_news_of_an_alarm_may_end_the_alarm() -> None:
    """Publishers that do not read are told of its end, which makes their output longer."""
    node = new_node(memory=1000)
    clients = [FrameClient(node).open(1) for _ in range(3)]
    for each in clients:
        each.publish("nowhere")
        each.connection.pause()
    node.account(1001)
    assert all(each.connection.blocked for each in clients)
    node.account(-node.memory + 790)
    blocked = [each.connection.blocked for each in clients]
    assert blocked == [node.alarm is not None] * 3
    for each in clients:
        each.receive()
    node.account(-node.memory)
    assert not any(each.connection.blocked for each in clients)
