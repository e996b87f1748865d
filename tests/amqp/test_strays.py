"""Deliveries for a consumer that has ended: they are never acknowledged, and none stays behind."""

from __future__ import annotations

from typing import Any

import pika.frame
import pika.spec

from postage.green.amqp.channel import Channel
from postage.green.amqp.connection import Connection
from postage.testing.polling import wait_until
from tests.support.deliveries import Inbox, send
from tests.support.waiting import assert_stays

SOON = 10.0


def left_in(connection: Connection, queue: str) -> list[bytes]:
    """Take what is in *queue*."""
    inbox = Inbox()
    with connection.lease() as other:
        other.consume(queue, inbox)
        other.queue_declare("", exclusive=True)  # what was in the queue has been sent
    return [each.body for each in inbox.got]


def forget(channel: Channel, tag: str) -> None:
    """Leave the state of a channel whose cancel got no answer: the broker has the consumer."""
    channel.codec.discard_consumer(channel.number, tag)


def test_an_ack_of_others_does_not_cover_them(
    connection: Connection, channel: Channel, queue: str
) -> None:
    forget(channel, channel.consume(queue, Inbox()))
    send(connection, queue, b"stray")
    other, inbox = channel.queue_declare("", exclusive=True), Inbox(settle=False)
    channel.consume(other, inbox)
    send(connection, other, b"1", b"2")
    inbox.wait(2)
    for delivery in inbox.got:
        delivery.ack()  # in one turn: with `multiple`, if nothing is in progress
    channel.queue_declare("", exclusive=True)  # the broker has read the acks
    channel.close()

    wait_until(lambda: left_in(connection, queue) == [b"stray"], SOON)
    assert left_in(connection, other) == []


def test_they_go_back_if_the_broker_has_ended_the_consumer(
    connection: Connection, channel: Channel, queue: str
) -> None:
    tag = channel.consume(queue, Inbox())
    forget(channel, tag)
    channel._ended_by_broker = [tag]
    send(connection, queue, b"late")
    channel._cancel_in_return(tag)

    wait_until(lambda: left_in(connection, queue) == [b"late"], SOON)
    assert channel.alive


def test_a_consumer_that_the_broker_has_ended_is_cancelled(
    connection: Connection, channel: Channel, queue: str
) -> None:
    """As after the consumer timeout of RabbitMQ 4.3, which only stops the consumer."""
    inbox = Inbox(settle=False)
    tag = channel.consume(queue, inbox)
    send(connection, queue, b"held")
    inbox.wait(1)
    channel._on_cancel(cancel_of(tag))
    inbox.got[0].ack()
    send(connection, queue, b"next")

    wait_until(lambda: left_in(connection, queue) == [b"next"], SOON)
    assert_stays(lambda: len(inbox.got) == 1 and channel.alive, 0.1)


def cancel_of(tag: str) -> Any:
    """Return the frame by which the broker ends a consumer."""
    return pika.frame.Method(1, pika.spec.Basic.Cancel(tag))
