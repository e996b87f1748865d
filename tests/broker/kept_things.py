"""All kinds of things that a client can make a broker keep."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import Any

from postage.broker.wire.content import encode_properties
from postage.broker.wire.methods import encode
from postage.protocol import HEADER
from tests.support.frame_client import FrameClient, body, frame

TIMES = 150


def content_header(channel: int, size: int, **properties: Any) -> bytes:
    payload = struct.pack(">HHQ", 60, 0, size) + encode_properties(properties)
    return frame(HEADER, channel, payload)


def publish(client: FrameClient, key: str, channel: int = 1, **properties: Any) -> None:
    """Publish an empty message with *properties*."""
    method = encode(channel, "basic.publish", routing_key=key)
    client.send(method, content_header(channel, 0, **properties))


def each_channel(client: FrameClient) -> Iterator[int]:
    for number in range(2, 2 + TIMES):
        client.send_method("channel.open", number)
        yield number


def publishes_in_a_transaction(client: FrameClient) -> None:
    client.send_method("tx.select", 1)
    for number in range(TIMES):
        client.publish("q", b"x" * number)


def headers_in_a_transaction(client: FrameClient) -> None:
    client.send_method("tx.select", 1)
    for number in range(TIMES):
        publish(client, f"k{number}", headers={f"a{number}": "b" * 500})


def more_keys_in_a_transaction(client: FrameClient) -> None:
    client.send_method("tx.select", 1)
    for number in range(TIMES):
        publish(client, "k", headers={"CC": [f"{number}.{each}" for each in range(50)]})


def acks_in_a_transaction(client: FrameClient) -> None:
    client.send_method("queue.declare", 1, queue="q")
    client.send_method("tx.select", 1)
    for number in range(TIMES):
        client.publish("q", b"x" * number)
    client.send_method("tx.commit", 1)
    for number in range(TIMES):
        client.send_method("basic.get", 1, queue="q")
        client.send_method("basic.nack", 1, delivery_tag=number + 1)


def transactions_on_many_channels(client: FrameClient) -> None:
    for channel in each_channel(client):
        client.send_method("tx.select", channel)
        client.publish("q", b"x", channel)


def unread_direct_replies(client: FrameClient) -> None:
    arguments = {"queue": "amq.rabbitmq.reply-to", "no_ack": True}
    client.send_method("basic.consume", 1, **arguments)
    client.connection.pause()
    (key,) = client.node.vhosts["/"].reply_consumers
    for number in range(TIMES):
        client.publish(key, b"%d" % number)


def unread_returned_messages(client: FrameClient) -> None:
    client.connection.pause()
    for number in range(TIMES):
        client.publish("missing", b"%d" % number, mandatory=True)


def unread_answers_to_basic_get(client: FrameClient) -> None:
    client.send_method("queue.declare", 1, queue="q")
    client.publish("q", b"x" * 1000)
    client.connection.pause()
    for number in range(TIMES):
        client.send_method("basic.get", 1, queue="q")
        client.send_method("basic.reject", 1, delivery_tag=number + 1, requeue=True)


def unread_small_answers(client: FrameClient) -> None:
    client.connection.pause()
    for _ in range(TIMES):
        client.send_method("basic.qos", 1)


def unread_confirms(client: FrameClient) -> None:
    client.send_method("confirm.select", 1)
    client.connection.pause()
    for _ in range(TIMES):
        client.publish("q", b"x")


def arguments_of_queues(client: FrameClient) -> None:
    for number in range(TIMES):
        arguments = {f"x-{each}": [number, {}] for each in range(20)}
        client.send_method("queue.declare", 1, queue=f"q{number}", arguments=arguments)


def names_of_queues(client: FrameClient) -> None:
    for number in range(TIMES):
        client.send_method("queue.declare", 1, queue=f"{number}" + "\u00e9" * 120, exclusive=True)


def priorities_of_queues(client: FrameClient) -> None:
    for number in range(20):
        arguments = {"x-max-priority": 255}
        client.send_method("queue.declare", 1, queue=f"q{number}", arguments=arguments)


def arguments_of_exchanges(client: FrameClient) -> None:
    for number in range(TIMES):
        arguments = {"x": {"y": "z" * number}, "binary": b"\xff" * 100}
        name = f"e{number}"
        client.send_method("exchange.declare", 1, exchange=name, type="topic", arguments=arguments)


def arguments_of_bindings(client: FrameClient) -> None:
    client.send_method("queue.declare", 1, queue="q")
    for number in range(TIMES):
        arguments = {"x-match": "any", **{f"h{each}": number for each in range(20)}}
        client.send_method("queue.bind", 1, queue="q", exchange="amq.headers", arguments=arguments)


def words_of_bindings(client: FrameClient) -> None:
    client.send_method("queue.declare", 1, queue="q")
    for number in range(TIMES):
        key = f"{number}" + ".x" * 120
        client.send_method("queue.bind", 1, queue="q", exchange="amq.topic", routing_key=key)


def bindings_between_exchanges(client: FrameClient) -> None:
    client.send_method("exchange.declare", 1, exchange="e" * 255, type="fanout")
    for number in range(TIMES):
        names = {"source": "amq.topic", "destination": "e" * 255, "routing_key": f"{number}"}
        client.send_method("exchange.bind", 1, **names)


def tags_of_consumers(client: FrameClient) -> None:
    client.send_method("queue.declare", 1, queue="q")
    for number in range(TIMES):
        client.send_method("basic.consume", 1, queue="q", consumer_tag=f"{number:03}" * 85)
        client.publish("q", b"x")


def channels(client: FrameClient) -> None:
    for _ in each_channel(client):
        pass


def publishes_without_a_header(client: FrameClient) -> None:
    for channel in each_channel(client):
        client.send_method("basic.publish", channel, exchange="e" * 255, routing_key="k" * 255)


def headers_without_a_body(client: FrameClient) -> None:
    for channel in each_channel(client):
        client.send_method("basic.publish", channel, routing_key="k")
        client.send(content_header(channel, 9, headers={"a": "b" * 1000, "c": channel}))


def bodies_without_an_end(client: FrameClient) -> None:
    for channel in each_channel(client):
        client.send_method("basic.publish", channel, routing_key="k")
        parts = [body(channel, b"%d" % channel) for _ in range(50)]
        client.send(content_header(channel, 100_000), *parts)


def half_a_frame(client: FrameClient) -> None:
    client.send(frame(HEADER, 1, bytes(100_000))[:-1])


def messages_that_wait(client: FrameClient) -> None:
    client.send_method("queue.declare", 1, queue="q", arguments={"x-message-ttl": 10_000})
    for number in range(TIMES):
        key = {"correlation_id": f"{number}", "expiration": f"{number + 1000}"}
        publish(client, "q", **key, headers={"BCC": ["k" * number]})


def messages_of_a_deleted_queue(client: FrameClient) -> None:
    arguments = {"x": "y" * 50_000}
    client.send_method("queue.declare", 1, queue="q", arguments=arguments)
    for number in range(TIMES):
        client.publish("q", b"x" * number)
        client.send_method("basic.get", 1, queue="q")
    client.send_method("queue.delete", 1, queue="q")


KINDS = (
    publishes_in_a_transaction,
    headers_in_a_transaction,
    more_keys_in_a_transaction,
    acks_in_a_transaction,
    transactions_on_many_channels,
    unread_direct_replies,
    unread_returned_messages,
    unread_answers_to_basic_get,
    unread_small_answers,
    unread_confirms,
    arguments_of_queues,
    names_of_queues,
    priorities_of_queues,
    arguments_of_exchanges,
    arguments_of_bindings,
    words_of_bindings,
    bindings_between_exchanges,
    tags_of_consumers,
    channels,
    publishes_without_a_header,
    headers_without_a_body,
    bodies_without_an_end,
    half_a_frame,
    messages_that_wait,
    messages_of_a_deleted_queue,
)
Kind = Callable[[FrameClient], None]
