"""Very many channels and consumers share channels without affecting each other."""

from __future__ import annotations

from typing import Any

import gevent
import pytest

from postage.errors import ChannelRefused, ConnectionLost
from postage.green.amqp import channel_plan
from postage.green.amqp import connection as connection_module
from postage.green.amqp.connection import Connection
from postage.green.amqp.properties import Properties
from postage.testing.polling import wait_until
from tests.support.attempts import outcomes, spawned
from tests.support.deliveries import Inbox, send
from tests.support.endpoints import exchange
from tests.support.stopwatch import Stopwatch

SOON = 10.0


def test_thousands_that_declare_at_once_need_few_channels(connection: Connection) -> None:
    made = exchange("declared-by-many")
    runs = [spawned(connection.declare, made) for _ in range(3000)]
    assert set(outcomes(runs, SOON)) == {None}
    assert len(connection.statistics()["channels"]) == 1


def test_more_channels_than_there_are(connection: Connection, monkeypatch: Any) -> None:
    monkeypatch.setattr(connection.transport.params, "_channel_max", 3)
    for _ in range(3):
        connection.open_channel()
    with pytest.raises(ChannelRefused, match="in use"):
        connection.open_channel()
    assert connection.alive


@pytest.fixture
def few_channels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channel_plan, "OWN_CHANNELS", 2)
    monkeypatch.setattr(channel_plan, "SHARED_CHANNELS", 2)


def test_consumers_share_channels_when_there_are_many(
    few_channels: None, connection: Connection
) -> None:
    channels = outcomes([spawned(connection.consuming_channel) for _ in range(8)], SOON)
    assert len(set(map(id, channels))) == 4
    own, shared = channels[:2], channels[2:]
    own[0].release([])
    assert not own[0].alive
    assert own[1].alive
    shared[0].release([])
    assert all(channel.alive for channel in shared)
    assert connection.consuming_channel() not in channels, "one may have its own again"


def test_leaving_a_shared_channel_requeues_only_own_deliveries(
    few_channels: None, connection: Connection
) -> None:
    channels = [connection.consuming_channel() for _ in range(5)]
    channel = channels[2]
    assert channel is channels[4]
    queues = [channel.queue_declare("", exclusive=True) for _ in range(2)]
    inboxes = [Inbox(settle=False), Inbox(settle=False)]
    tags = [
        channel.consume(queue, inbox, prefetch=2)
        for queue, inbox in zip(queues, inboxes, strict=True)
    ]
    for queue in queues:
        send(connection, queue, b"1", b"2", b"3")
    for inbox in inboxes:
        inbox.wait(2)
    inboxes[0].got[0].ack()
    inboxes[0].wait(3)
    channel.release([tags[0]])
    assert channel.alive
    # What a handler says afterwards is of no interest, and must not cost the others their channel.
    inboxes[0].got[1].ack()
    inboxes[0].got[0].ack()
    assert channel.stale_acks == 2
    taking_over = Inbox()
    connection.open_channel().consume(queues[0], taking_over)
    assert sorted(taking_over.wait(2)) == [b"2", b"3"]
    assert all(delivery.redelivered for delivery in taking_over.got)
    inboxes[1].got[0].ack()
    assert inboxes[1].wait(3) == [b"1", b"2", b"3"]
    assert channel.alive


def test_a_refused_shared_channel_is_replaced(few_channels: None, connection: Connection) -> None:
    shared = [connection.consuming_channel() for _ in range(4)][2]
    with pytest.raises(ChannelRefused):
        shared.queue_declare("there-is-no-such-queue", passive=True)
    later = [connection.consuming_channel() for _ in range(2)]
    assert all(channel.alive for channel in later)


def test_thousands_of_consumers(connection: Connection) -> None:
    watch = Stopwatch()
    inboxes = [Inbox() for _ in range(1200)]
    queue = connection.open_channel().queue_declare("", exclusive=True)

    def start(inbox: Inbox) -> None:
        connection.consuming_channel().consume(queue, inbox, prefetch=1)

    assert set(outcomes([spawned(start, inbox) for inbox in inboxes], 30)) == {None}
    send(connection, queue, *[b"x"] * 50)
    wait_until(lambda: sum(len(inbox.got) for inbox in inboxes) == 50, SOON)
    assert len(connection.statistics()["channels"]) < 2047
    assert watch.own < 30


def test_a_replaced_channel_closes_after_its_last_confirm(
    connection: Connection,
) -> None:
    with connection.lease() as channel:
        queue = channel.queue_declare("", exclusive=True)
    old = connection.confirming.get()
    runs = [
        spawned(old.publish_confirmed, "", queue, Properties(), b"x", limit=SOON) for _ in range(50)
    ]
    gevent.sleep(0)  # they are written, and the broker has not been heard to the end
    assert old.statistics().unconfirmed > 0
    assert connection.replace_channel(connection.confirming) is None, "not so soon"
    old.since -= connection_module.MIN_CHANNEL_AGE
    assert connection.replace_channel(connection.confirming) is old
    new = connection.confirming.get()
    assert new is not old
    assert outcomes(runs, SOON) == [None] * 50
    wait_until(lambda: not old.alive, SOON)
    assert new.alive


def test_queues_that_keep_messages_have_channels_of_their_own(
    connection: Connection, monkeypatch: Any
) -> None:
    """The one that was used first gives its channel up, when its last confirm is there."""
    monkeypatch.setattr(connection_module, "MOST_KEEPING", 2)
    with connection.lease() as channel:
        queues = [channel.queue_declare("", exclusive=True) for _ in range(3)]
    first = connection.keeping(queues[0]).get()
    assert connection.keeping(queues[0]).get() is first
    second = connection.keeping(queues[1]).get()
    run = spawned(first.publish_confirmed, "", queues[0], Properties(), b"x", limit=SOON)
    gevent.sleep(0)  # it is written, and the broker has not been heard
    third = connection.keeping(queues[2])
    assert outcomes([run], SOON) == [None]
    wait_until(lambda: not first.alive, SOON)
    with pytest.raises(ConnectionLost):  # so a publisher that was about to use it tries again
        first.publish_confirmed("", queues[0], Properties(), b"x", limit=SOON)
    assert (connection.keeping(queues[1]).get(), second.alive) == (second, True)
    assert third.get() is not second
    assert connection.keeping(queues[0]).get() is not first


def test_with_few_channels_all_copies_share_one(connection: Connection, monkeypatch: Any) -> None:
    monkeypatch.setattr(connection.transport.params, "_channel_max", 10)
    assert connection.keeping("a") is connection.keeping("b") is connection.confirming
