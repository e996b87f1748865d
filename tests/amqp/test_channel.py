"""The methods of a channel, on a real broker."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from typing import Any

import gevent
import pytest

from postage.errors import (
    ChannelRefused,
    ConnectionClosed,
    NotAcknowledged,
    SettingsError,
    TopologyMismatch,
)
from postage.green.amqp.channel import CHUNK, Channel
from postage.green.amqp.connection import Connection
from postage.green.amqp.hub_monitor import hub_monitor
from postage.green.amqp.properties import Properties
from postage.testing.polling import wait_until
from tests.support.attempts import outcomes, spawned
from tests.support.deliveries import Inbox, send
from tests.support.endpoints import exchange
from tests.support.waiting import assert_stays

SOON = 10.0
MB = 1 << 20


# --- the ordinary way


def test_declare_bind_consume_publish_confirm(connection: Connection, channel: Channel) -> None:
    channel.exchange_declare(**exchange("ordinary", exchange_type="topic").parameters)
    queue = channel.queue_declare("", exclusive=True)
    assert queue.startswith("amq.gen-")
    for _ in range(2):  # twice is fine
        channel.queue_bind(queue, "ordinary", "a.*")
    inbox = Inbox()
    tag = channel.consume(queue, inbox, prefetch=2)
    properties = Properties(content_type="text/plain", headers={"n": 1}, correlation_id="ä")
    confirming = connection.confirming.get()
    for key in ("a.b", "b.a", "a.c"):
        confirming.publish_confirmed("ordinary", key, properties, b"body", limit=SOON)
    inbox.wait(2)
    first = inbox.got[0]
    assert [d.routing_key for d in inbox.got] == ["a.b", "a.c"]
    assert (first.consumer_tag, first.exchange, first.redelivered) == (tag, "ordinary", False)
    assert first.properties == properties
    assert first.properties.headers == {"n": 1}
    channel.queue_unbind(queue, "ordinary", "a.*")
    channel.cancel(tag)
    channel.cancel(tag)
    channel.close()
    channel.close()
    assert not channel.alive
    assert connection.alive


def test_prefetch_bounds_each_consumer_on_its_own(connection: Connection, channel: Channel) -> None:
    queues = [channel.queue_declare("", exclusive=True) for _ in range(2)]
    inboxes = [Inbox(settle=False), Inbox(settle=False)]
    starting = [
        spawned(channel.consume, queue, inbox, prefetch=prefetch)
        for queue, inbox, prefetch in zip(queues, inboxes, (2, 5), strict=True)
    ]
    outcomes(starting, SOON)
    for queue in queues:
        send(connection, queue, *[b"x"] * 8)
    inboxes[0].wait(2)
    inboxes[1].wait(5)
    channel.queue_declare("", exclusive=True)  # what was on its way is here now
    assert [len(inbox.got) for inbox in inboxes] == [2, 5]
    inboxes[0].got[1].ack()
    inboxes[0].wait(3)


def test_rejected_and_requeued(connection: Connection, channel: Channel, queue: str) -> None:
    inbox = Inbox(settle=False)
    channel.consume(queue, inbox, prefetch=1)
    send(connection, queue, b"again", b"never")
    inbox.wait(1)
    inbox.got[0].reject(requeue=True)
    inbox.wait(2)
    assert inbox.got[1].redelivered
    inbox.got[1].reject(requeue=False)
    assert inbox.wait(3) == [b"again", b"again", b"never"]


@pytest.fixture
def written(connection: Connection, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, bool]]:
    """The acks that are written, each with its ``multiple``."""
    acks: list[tuple[int, bool]] = []
    passed_on = connection.codec.ack

    def ack(channel: Any, tag: int, *, multiple: bool) -> None:
        acks.append((tag, multiple))
        passed_on(channel, tag, multiple=multiple)

    monkeypatch.setattr(connection.codec, "ack", ack)
    return acks


def test_deliveries_finished_in_one_turn_share_one_ack(
    connection: Connection, channel: Channel, queue: str, written: list[Any]
) -> None:
    inbox = Inbox(settle=False)
    channel.consume(queue, inbox, prefetch=4)
    send(connection, queue, *[bytes((n,)) for n in range(8)])
    inbox.wait(4)
    for place in (2, 0, 1):
        inbox.got[place].ack()
    assert written == []
    inbox.wait(7)
    assert written == [(3, True)]
    for place in (6, 3, 5):  # 4 is not done
        inbox.got[place].ack()
    inbox.wait(8)
    assert written[1:] == [(4, False), (7, False), (6, False)]


def test_acks_never_cover_deliveries_of_another_consumer(
    connection: Connection, channel: Channel
) -> None:
    queues = [channel.queue_declare("", exclusive=True) for _ in range(2)]
    inboxes = [Inbox(settle=False), Inbox(settle=False)]
    for queue, inbox in zip(queues, inboxes, strict=True):
        channel.consume(queue, inbox, prefetch=3)
        send(connection, queue, b"1", b"2", b"3")
        inbox.wait(3)
    for delivery in inboxes[1].got:
        delivery.ack()
    channel.queue_declare("", exclusive=True)  # the broker has read the acks
    assert not any(delivery.redelivered for delivery in inboxes[0].got)
    channel.close()
    again = [Inbox(), Inbox()]
    other = connection.open_channel()
    for queue, inbox in zip(queues, again, strict=True):
        other.consume(queue, inbox)
    assert again[0].wait(3) == [b"1", b"2", b"3"]
    assert again[1].got == []


@pytest.mark.parametrize("end", ["channel", "connection", "connection, at exit"])
def test_finished_deliveries_are_acknowledged_before_the_end(
    end: str, connect: Any, settings: Any, connection: Connection
) -> None:
    ending = connect(settings)
    channel = ending.open_channel()
    queue = f"acknowledged-before-{end}"
    connection.open_channel().queue_declare(queue, durable=True)
    inbox = Inbox(settle=False)
    channel.consume(queue, inbox, prefetch=3)
    send(connection, queue, b"1", b"2", b"3")
    inbox.wait(3)
    for delivery in inbox.got[:2]:
        delivery.ack()
    if end == "channel":
        channel.close()
    elif end == "connection":
        ending.close()
    else:
        ending.close_without_hub(1.0)
    again = Inbox()
    connection.open_channel().consume(queue, again)
    assert again.wait(1) == [b"3"]
    assert channel.stale_acks == 0


def test_a_second_ack_of_a_delivery_is_counted_and_harms_nobody(
    connection: Connection, channel: Channel, queue: str
) -> None:
    inbox = Inbox()
    channel.consume(queue, inbox)
    send(connection, queue, b"1")
    inbox.wait(1)
    inbox.got[0].ack()
    inbox.got[0].reject(requeue=True)
    send(connection, queue, b"2")
    assert inbox.wait(2) == [b"1", b"2"]
    assert (channel.stale_acks, channel.alive) == (2, True)


def test_a_dropped_consumer_leaves_nothing_behind(channel: Channel, queue: str) -> None:
    tag = channel.consume(queue, Inbox(settle=False), no_ack=True)
    for _ in range(2):
        channel.cancel_nowait(tag, drop=True)
    assert tag in repr(vars(channel._pika))

    wait_until(lambda: tag not in repr(vars(channel._pika)), SOON)
    assert not channel._cancelling
    assert channel.alive


def test_acks_after_the_end_of_the_channel_are_counted(
    connection: Connection, channel: Channel, queue: str
) -> None:
    inbox = Inbox(settle=False)
    channel.consume(queue, inbox, prefetch=2)
    send(connection, queue, b"1", b"2")
    inbox.wait(2)
    with hub_monitor._lock:  # or its native thread might send the first ack
        inbox.got[0].ack()
        connection.transport.lose(OSError("on purpose"))
    inbox.got[1].ack()
    assert channel.stale_acks == 2


def test_a_cancelled_consumer_can_still_acknowledge(
    connection: Connection, channel: Channel, queue: str
) -> None:
    inbox = Inbox(settle=False)
    tag = channel.consume(queue, inbox, prefetch=1)
    send(connection, queue, b"one", b"two")
    inbox.wait(1)
    channel.cancel(tag)
    inbox.got[0].ack()
    again = Inbox()
    channel.consume(queue, again, prefetch=1)
    assert again.wait(1) == [b"two"]
    assert channel.stale_acks == 0


def test_the_broker_ends_a_consumer(connection: Connection, channel: Channel, queue: str) -> None:
    ended: list[str] = []
    channel.on_cancel.append(ended.append)
    tag = channel.consume(queue, Inbox())
    with connection.lease() as other:
        other.queue_delete(queue)
    wait_until(lambda: ended == [tag], SOON)
    assert channel.alive
    channel.cancel(tag)


# --- bodies

SIZES = [0, 1, 131063, 131064, 131065, 131072, 3 * 131064, MB, 20 * MB]


@pytest.mark.parametrize("size", SIZES)
def test_bodies_arrive_as_they_were(
    size: int, connection: Connection, channel: Channel, queue: str
) -> None:
    body = os.urandom(size)
    inbox = Inbox()
    channel.consume(queue, inbox)
    send(connection, queue, body)
    assert inbox.wait(1)[0] == body


def test_bodies_of_many_greenlets_do_not_mix(
    connection: Connection, channel: Channel, queue: str
) -> None:
    inbox = Inbox()
    channel.consume(queue, inbox)
    bodies = [[os.urandom((n * 37 + m) % 50 * 8000 + n) for m in range(3)] for n in range(50)]
    runs = [spawned(send, connection, queue, *some) for some in bodies]
    assert outcomes(runs, SOON) == [None] * 50
    inbox.wait(150)

    def digests(found: list[bytes]) -> list[str]:
        return sorted(hashlib.sha256(body).hexdigest() for body in found)

    assert digests(inbox.bodies) == digests([body for some in bodies for body in some])


# --- what the broker refuses


def not_found(channel: Channel) -> None:
    channel.queue_declare("there-is-no-such-queue", passive=True)


def not_found_consume(channel: Channel) -> None:
    channel.consume("there-is-no-such-queue", Inbox(), prefetch=1)


def mismatch(channel: Channel) -> None:
    channel.exchange_declare(**exchange("amq.direct", exchange_type="fanout").parameters)


def access_refused(channel: Channel) -> None:
    channel.exchange_declare(**exchange("amq.mine").parameters)


def unknown_delivery(channel: Channel) -> None:
    channel.codec.ack(channel.number, 4711, multiple=False)
    channel.queue_declare("", exclusive=True)


REFUSED = {
    not_found: (TopologyMismatch, 404),
    not_found_consume: (ChannelRefused, 404),
    mismatch: (TopologyMismatch, 406),
    access_refused: (ChannelRefused, 403),
    unknown_delivery: (ChannelRefused, 406),
}


@pytest.mark.parametrize("refused", REFUSED, ids=lambda call: call.__name__)
def test_a_refusal_reaches_every_waiter_of_its_channel_only(
    refused: Callable[[Channel], None], connection: Connection
) -> None:
    kind, code = REFUSED[refused]
    ours, other = connection.open_channel(), connection.open_channel()
    other_queue = other.queue_declare("", exclusive=True)
    runs = [
        spawned(refused, ours),
        *(spawned(ours.queue_declare, "", exclusive=True) for _ in range(5)),
    ]
    others = [spawned(other.queue_declare, "", exclusive=True) for _ in range(5)]
    results = outcomes(runs, 1.0)
    assert type(results[0]) is kind
    assert [(isinstance(e, ChannelRefused), e.code) for e in results] == [(True, code)] * 6
    assert len(set(map(id, results))) == 6
    assert all(error.__cause__ is not None for error in results)
    assert all(name.startswith("amq.gen") for name in outcomes(others, SOON))
    assert connection.alive
    assert other.alive
    assert not ours.alive
    with pytest.raises(ChannelRefused):
        ours.queue_declare("")
    send(connection, other_queue, b"still here")


def test_confirms_hear_of_a_refusal_of_their_channel_only(connection: Connection) -> None:
    confirming, plain = connection.confirming.get(), connection.plain.get()
    publish = confirming.publish_confirmed
    runs = [spawned(publish, "no-such", "k", Properties(), b"", limit=SOON) for _ in range(20)]
    errors = outcomes(runs, 1.0)
    assert [(type(error), error.code) for error in errors] == [(ChannelRefused, 404)] * 20
    assert len(set(map(id, errors))) == 20
    assert plain.alive
    assert connection.confirming.get() is not confirming
    assert connection.plain.get() is plain


def test_a_refusal_of_many_leases_ends_none_of_the_others(connection: Connection) -> None:
    def one(number: int) -> Any:
        with connection.lease() as channel:
            name, passive = ("no", True) if number % 2 else ("", False)
            return channel.queue_declare(name, passive=passive, exclusive=True)

    results = outcomes([spawned(one, number) for number in range(20)], SOON)
    assert [isinstance(result, ChannelRefused) for result in results] == [False, True] * 10
    assert {each.state for each in connection.statistics()["channels"]} == {"open"}


def test_acks_on_a_dead_channel_are_counted_and_not_raised(
    connection: Connection, channel: Channel, queue: str
) -> None:
    inbox = Inbox(settle=False)
    channel.consume(queue, inbox, prefetch=3)
    send(connection, queue, b"1", b"2", b"3")
    inbox.wait(3)
    channel.close()
    inbox.got[0].ack()
    inbox.got[1].reject(requeue=True)
    inbox.got[2].reject(requeue=False)
    assert channel.stale_acks == 3
    assert connection.alive
    again = Inbox()
    connection.open_channel().consume(queue, again)
    assert sorted(again.wait(3)) == [b"1", b"2", b"3"]


def test_confirmed_publishes_do_not_wait_for_the_end_of_the_turn(connection: Connection) -> None:
    transport, confirming = connection.transport, connection.confirming.get()
    seen: list[tuple[int, int]] = []

    def publish() -> None:
        seen.append((transport.unsent, transport.this_turn))
        confirming.publish_confirmed("", "nowhere", Properties(), bytes(1000), limit=SOON)

    gevent.joinall([gevent.spawn(publish) for _ in range(100)], raise_error=True)
    unsent, this_turn = map(max, zip(*seen, strict=True))
    assert this_turn > 5 * CHUNK, "all of them published in one turn"
    assert CHUNK - 1100 < unsent <= CHUNK


@pytest.mark.parametrize("what", ["key", "property"])
def test_an_encoding_error_does_not_shift_later_confirms(
    what: str, connection: Connection, channel: Channel
) -> None:
    full = {"x-max-length": 0, "x-overflow": "reject-publish"}
    channel.queue_declare("full", durable=True, arguments=full)
    confirming = connection.confirming.get()
    key, properties = ("x" * 300, Properties())
    if what == "property":
        key, properties = "k", Properties(correlation_id="x" * 300)
    with pytest.raises(SettingsError, match=r"255 bytes: 'x{60}'"):
        confirming.publish_confirmed("", key, properties, b"", limit=SOON)
    for _ in range(3):
        with pytest.raises(NotAcknowledged):
            confirming.publish_confirmed("", "full", Properties(), b"", limit=SOON)
        confirming.publish_confirmed("", "nowhere", Properties(), b"", limit=SOON)
    assert confirming.statistics().unconfirmed == 0


@pytest.mark.parametrize("longest", ["queue", "key", "exchange"])
def test_a_name_that_is_too_long_is_refused_and_harms_nobody(
    connection: Connection, channel: Channel, longest: str
) -> None:
    """This holds even while pika waits for another answer and would check the name only later."""
    names = {"queue": "q", "exchange": "amq.topic", "key": "k"} | {longest: "x" * 256}
    asking = gevent.spawn(channel.queue_declare, "", exclusive=True)
    gevent.sleep(0)
    with pytest.raises(SettingsError, match="255 bytes"):
        channel.queue_bind(**names)

    assert asking.get(timeout=SOON).startswith("amq.gen-")
    assert connection.alive


def test_returned_messages_are_reported(connect: Any, settings: Any) -> None:
    returned: list[Any] = []
    connection = Connection(settings, "a test", lambda *what: returned.append(what))
    try:
        channel = connection.calling.get()
        properties = Properties(correlation_id="7")
        channel.publish("", "nobody", properties, b"x" * 200_000, mandatory=True)
        channel.publish("", "nobody", Properties(), b"", mandatory=False)
        wait_until(lambda: returned, SOON)
        assert returned == [("NO_ROUTE", properties)]
    finally:
        connection.close()


# --- closing while others work


def test_closing_a_channel_fails_its_waiters(connection: Connection) -> None:
    channel, other = connection.open_channel(), connection.open_channel()
    closing = spawned(channel.close)
    gevent.sleep(0)
    assert not channel.alive, "at once"
    channel.ack(1)
    with pytest.raises(ConnectionClosed):
        channel.publish("", "q", Properties(), b"")
    outcomes([closing], SOON)
    assert channel.stale_acks == 1
    assert other.queue_declare("", exclusive=True)


def test_work_while_the_connection_closes(connection: Connection, rabbitmq: Any) -> None:
    before = len(rabbitmq.log_text())
    channel = connection.open_channel()
    queue = channel.queue_declare("", exclusive=True)
    inbox = Inbox(settle=False)
    channel.consume(queue, inbox, prefetch=10)
    send(connection, queue, b"1", b"2")
    inbox.wait(2)
    publish = connection.confirming.get().publish_confirmed
    waiting = [spawned(channel.queue_declare, "", exclusive=True) for _ in range(3)]
    gevent.sleep(0)
    closing = spawned(connection.close)
    gevent.sleep(0)
    inbox.got[0].ack()
    results = outcomes(
        [spawned(publish, "", queue, Properties(), b"", limit=SOON), *waiting, closing], 5.0
    )
    assert isinstance(results[0], ConnectionClosed)
    assert {type(result) for result in results[1:4]} <= {ConnectionClosed, str}
    assert channel.stale_acks == 1
    assert_stays(lambda: "Error on AMQP connection" not in rabbitmq.log_text()[before:], 0.1)


def test_a_greenlet_killed_while_opening_leaves_no_channel(
    connection: Connection,
) -> None:
    run = gevent.spawn(connection.open_channel)
    gevent.sleep(0)
    assert len(connection.statistics()["channels"]) == 1
    run.kill()
    wait_until(lambda: not connection.statistics()["channels"], SOON)
    assert not connection.transport._channels
