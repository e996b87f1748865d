"""Clients that send anything: hostile values, odd orders, halves of publishes and frames."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable
from typing import Any

from postage.broker.core.clock import ManualTimers
from postage.broker.core.likeness import LIKENESSES, likeness_of
from postage.broker.core.limits import Limits
from postage.broker.session.node import Node
from postage.broker.wire.methods import encode
from postage.protocol import BODY, HEADER
from tests.broker.hostile_values import (
    LONG,
    QUEUES,
    Number,
    data,
    exchange,
    key,
    name,
    properties,
    queue_arguments,
    table,
)
from tests.broker.simulated_client import GREETING, Client
from tests.support.frame_client import frame

CLIENTS = 3
CHANNELS = (1, 2, 3)


class HostileClients:
    """Some clients of a broker of their own, each *step* of which may be hostile or wrong."""

    def __init__(self, seed: int) -> None:
        draw = random.Random(seed)
        memory = draw.choice((24_000, 60_000, 1 << 20))  # publishers are blocked soon, or never
        limits = Limits(memory=memory, message_max=10_000, unsent=3000, channels=8, queues=30)
        self.timers = ManualTimers()
        likeness = likeness_of(draw.choice(tuple(LIKENESSES)), transient_queues=True)
        self.node = Node(self.timers, limits, likeness=likeness)
        self.log: list[str] | None = None
        self.clients = [self._connected() for _ in range(CLIENTS)]
        self._prepare(self.clients[0], draw)

    def _prepare(self, client: Client, draw: Number) -> None:
        """Declare exchanges, queues and consumers, so that most messages go somewhere."""
        for channel in CHANNELS:
            self._open(client, channel)
        for each, kind in zip("efg", ("direct", "fanout", "topic"), strict=True):
            self.call(client, 1, "exchange.declare", exchange=each, type=kind)
        for _ in QUEUES:
            self._open(client, 2)
            self.declare(client, 2, draw)
        for _ in range(2):
            self._open(client, 3)
            self.bind(client, 3, draw)
            self._open(client, 3)
            self.consume(client, 3, draw)

    def _connected(self) -> Client:
        client = Client(self.node)
        client.send(GREETING)
        return client

    def step(self, draw: Number) -> None:
        """Let one client do one thing."""
        at = draw.randrange(CLIENTS)
        client, channel = self.clients[at], draw.choice(CHANNELS)
        if client.is_lost:
            client = self.clients[at] = self._connected()
        (action,) = draw.choices(_ACTIONS, _WEIGHTS)
        if self.log is not None:
            self.log.append(f"client {at}, channel {channel}: {action.__name__}")
        if action not in _ANYWHERE:
            self._open(client, channel)
        action(self, client, channel, draw)

    def _open(self, client: Client, number: int) -> None:
        """Open a channel if it is not open; one that was closed with an error is closed first."""
        channel = client.connection.channels.get(number)
        if channel is not None and channel.closing:
            client.send(encode(number, "channel.close_ok"))
            channel = None
        if channel is None:
            client.send(encode(number, "channel.open"))

    def call(self, client: Client, number: int, method: str, **arguments: Any) -> None:
        """Send a method."""
        if self.log is not None:
            self.log.append(f"  {method} {arguments!r:.2000}")
        client.send(encode(number, method, **arguments))

    # what clients define

    def declare(self, client: Client, number: int, draw: Number) -> None:
        known = self.node.vhosts["/"].queues
        new = [each for each in QUEUES if each not in known]
        arguments = queue_arguments(draw)
        is_quorum = arguments.get("x-queue-type") == "quorum"
        self.call(
            client,
            number,
            "queue.declare",
            queue=draw.choice(new) if new and draw.random() < 0.9 else name(draw),
            arguments=arguments,
            durable=is_quorum or draw.random() < 0.5,
            exclusive=not is_quorum and draw.random() < 0.1,
            auto_delete=not is_quorum and draw.random() < 0.2,
            passive=draw.random() < 0.05,
        )

    def queue(self, draw: Number) -> str:
        """Return the name of a queue, which usually exists."""
        known = list(self.node.vhosts["/"].queues)
        return draw.choice(known) if known and draw.random() < 0.95 else name(draw)

    def declare_exchange(self, client: Client, number: int, draw: Number) -> None:
        arguments = table(draw)
        if draw.random() < 0.3:
            arguments["alternate-exchange"] = draw.choice((exchange(draw), 5))
        self.call(
            client,
            number,
            "exchange.declare",
            exchange=exchange(draw),
            type=draw.choice(("direct", "fanout", "topic", "headers")),
            auto_delete=draw.random() < 0.3,
            internal=draw.random() < 0.1,
            arguments=arguments,
        )

    def bind(self, client: Client, number: int, draw: Number) -> None:
        method = "queue.bind" if draw.random() < 0.8 else "queue.unbind"
        arguments = table(draw) if draw.random() < 0.3 else {}
        to = {"queue": self.queue(draw), "exchange": exchange(draw), "routing_key": key(draw)}
        self.call(client, number, method, arguments=arguments, **to)

    def bind_exchange(self, client: Client, number: int, draw: Number) -> None:
        method = "exchange.bind" if draw.random() < 0.8 else "exchange.unbind"
        to = {"source": exchange(draw), "destination": exchange(draw), "routing_key": key(draw)}
        self.call(client, number, method, arguments=table(draw), **to)

    def delete(self, client: Client, number: int, draw: Number) -> None:
        flags = {"if_unused": draw.random() < 0.2, "if_empty": draw.random() < 0.2}
        self.call(client, number, "queue.delete", queue=self.queue(draw), **flags)

    def delete_exchange(self, client: Client, number: int, draw: Number) -> None:
        self.call(client, number, "exchange.delete", exchange=exchange(draw))

    def purge(self, client: Client, number: int, draw: Number) -> None:
        self.call(client, number, "queue.purge", queue=self.queue(draw))

    def consume(self, client: Client, number: int, draw: Number) -> None:
        replies = draw.random() < 0.2
        self.call(
            client,
            number,
            "basic.consume",
            queue="amq.rabbitmq.reply-to" if replies else self.queue(draw),
            consumer_tag=draw.choice(("", "", "", "t", "u", "v", *LONG)),
            no_ack=replies or draw.random() < 0.3,
            exclusive=draw.random() < 0.05,
            arguments={"x-priority": draw.choice((1, -1, 5))}
            if draw.random() < 0.2
            else table(draw),
        )

    def cancel(self, client: Client, number: int, draw: Number) -> None:
        channel = client.connection.channels.get(number)
        tags = [*(channel.consumers if channel is not None else ()), "t"]
        self.call(client, number, "basic.cancel", consumer_tag=draw.choice(tags))

    # messages

    def _content(self, draw: Number, client: Client, number: int) -> list[bytes]:
        to_queue = draw.random() < 0.6
        exchange_, key_ = ("", self.queue(draw)) if to_queue else (exchange(draw), key(draw))
        replies = list(self.node.vhosts["/"].reply_consumers)
        if replies and draw.random() < 0.3:
            exchange_, key_ = "", draw.choice(replies)
        flags = {"mandatory": draw.random() < 0.3, "immediate": draw.random() < 0.01}
        header, body = properties(draw), data(draw, self.node.limits.message_max)
        if self.log is not None:
            self.log.append(f"  publish {exchange_!r} {key_!r} {flags} {header!r:.500} {len(body)}")
        publish = encode(number, "basic.publish", exchange=exchange_, routing_key=key_, **flags)
        room = client.connection.frame_max - 8
        return [
            publish,
            frame(HEADER, number, struct.pack(">HHQ", 60, 0, len(body)) + header),
            *(frame(BODY, number, body[at : at + room]) for at in range(0, len(body), room)),
        ]

    def publish(self, client: Client, number: int, draw: Number) -> None:
        frames = self._content(draw, client, number) * draw.choice((1, 1, 1, 2, 5))
        client.send(b"".join(frames))

    def start_publish(self, client: Client, number: int, draw: Number) -> None:
        frames = self._content(draw, client, number)
        at = draw.randrange(1, len(frames) + 1)
        client.partial = frames[at:]
        client.send(b"".join(frames[:at]))

    def go_on(self, client: Client, number: int, draw: Number) -> None:
        at = draw.randrange(len(client.partial) + 1)
        sent, client.partial = client.partial[:at], client.partial[at:]
        client.send(b"".join(sent))

    def cut_frame(self, client: Client, number: int, draw: Number) -> None:
        frames = b"".join(self._content(draw, client, number))
        client.send(frames[: draw.randrange(len(frames))])

    def get(self, client: Client, number: int, draw: Number) -> None:
        queue, no_ack = self.queue(draw), draw.random() < 0.3
        for _ in range(draw.choice((1, 1, 3))):
            self.call(client, number, "basic.get", queue=queue, no_ack=no_ack)

    def settle(self, client: Client, number: int, draw: Number) -> None:
        channel = client.connection.channels.get(number)
        tags = [*(channel.unacked if channel is not None else ())]
        if not tags and draw.random() < 0.95:
            self.get(client, number, draw)
            return
        tag = draw.choice(tags) if tags and draw.random() < 0.95 else draw.choice((0, 1, 99))
        multiple, requeue = draw.random() < 0.3, draw.random() < 0.5
        method = draw.choice(("ack", "ack", "nack", "nack", "reject"))
        flags = {"ack": {"multiple": multiple}, "nack": {"multiple": multiple, "requeue": requeue}}
        given = flags.get(method, {"requeue": requeue})
        self.call(client, number, f"basic.{method}", delivery_tag=tag, **given)

    def recover(self, client: Client, number: int, draw: Number) -> None:
        method = draw.choice(("basic.recover", "basic.recover_async"))
        self.call(client, number, method, requeue=draw.random() < 0.95)

    def qos(self, client: Client, number: int, draw: Number) -> None:
        count = draw.choice((0, 1, 3, 65_535))
        self.call(client, number, "basic.qos", prefetch_count=count, global_=draw.random() < 0.5)

    def mode(self, client: Client, number: int, draw: Number) -> None:
        channel = client.connection.channels.get(number)
        confirms = channel is not None and channel.transaction is None and draw.random() < 0.3
        self.call(client, number, "confirm.select" if confirms else "tx.select")

    def end_transaction(self, client: Client, number: int, draw: Number) -> None:
        channel = client.connection.channels.get(number)
        if channel is None or channel.transaction is None:
            self.mode(client, number, draw)
        else:
            self.call(client, number, draw.choice(("tx.commit", "tx.commit", "tx.rollback")))

    # connections

    def close_channel(self, client: Client, number: int, draw: Number) -> None:
        self.call(client, number, "channel.close")

    def odd_frame(self, client: Client, number: int, draw: Number) -> None:
        methods = ("channel.open", "channel.close_ok", "connection.blocked", "basic.ack")
        odd = (
            encode(number, draw.choice(methods)),
            frame(draw.choice((1, 2, 3, 8, 9)), number, draw.randbytes(draw.randrange(30))),
            draw.randbytes(20),
        )
        client.send(draw.choice(odd))

    def lose(self, client: Client, number: int, draw: Number) -> None:
        if draw.random() < 0.5:
            client.lose()
        else:
            self.call(client, 0, "connection.close")

    def stop_reading(self, client: Client, number: int, draw: Number) -> None:
        client.room = draw.choice((0, 10, 1000))

    def read(self, client: Client, number: int, draw: Number) -> None:
        client.room = draw.choice((None, None, 1, 1000, 10_000))
        client.turn()

    def wait(self, client: Client, number: int, draw: Number) -> None:
        self.timers.advance(draw.choice((0.0, 0.0, 0.001, 1.0, 10.0)))
        for each in self.clients:
            each.turn()


_ACTIONS: tuple[Callable[[HostileClients, Client, int, Number], None], ...]
_ACTIONS, _WEIGHTS = zip(
    (HostileClients.declare, 6),
    (HostileClients.declare_exchange, 3),
    (HostileClients.bind, 8),
    (HostileClients.bind_exchange, 2),
    (HostileClients.delete, 2),
    (HostileClients.delete_exchange, 1),
    (HostileClients.purge, 1),
    (HostileClients.consume, 10),
    (HostileClients.cancel, 2),
    (HostileClients.publish, 30),
    (HostileClients.start_publish, 3),
    (HostileClients.go_on, 3),
    (HostileClients.cut_frame, 1),
    (HostileClients.get, 5),
    (HostileClients.settle, 12),
    (HostileClients.recover, 1),
    (HostileClients.qos, 2),
    (HostileClients.mode, 3),
    (HostileClients.end_transaction, 3),
    (HostileClients.close_channel, 1),
    (HostileClients.odd_frame, 1),
    (HostileClients.lose, 1),
    (HostileClients.stop_reading, 2),
    (HostileClients.read, 3),
    (HostileClients.wait, 5),
    strict=True,
)
_ANYWHERE = (
    HostileClients.go_on,
    HostileClients.odd_frame,
    HostileClients.lose,
    HostileClients.stop_reading,
    HostileClients.read,
    HostileClients.wait,
)
"""Actions that need no open channel."""
