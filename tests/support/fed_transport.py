"""A transport without a broker, with our codec or the one of pika; the test feeds it bytes."""

from __future__ import annotations

import bisect
import contextlib
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import gevent.socket
import pika
from pika.spec import Basic, Channel, Confirm, Connection

from postage.green.amqp.codec import Codec, not_called
from postage.green.amqp.delivery import Delivery
from postage.green.amqp.properties import Properties
from postage.green.amqp.transport import Transport
from tests.support.peer import FRAME_MAX, OPEN_OK, START
from tests.support.plain_pika import PlainPika, on_confirms, on_messages
from tests.support.wire import method

CHANNELS = (1, 2, 3)
CONFIRMING = 3
CONSUMERS = ("ours", "yours")


class FedTransport:
    """A transport with our codec, or *plain* with the one of pika; `events` is what happened."""

    def __init__(self, frame_max: int = FRAME_MAX, *, plain: bool = False) -> None:
        self.channels: dict[int, Any] = {}
        self.events: list[Any] = []
        self._ends = gevent.socket.socketpair()
        self.transport = Transport(
            pika.ConnectionParameters(heartbeat=60),
            self._ends[0],
            on_open=lambda _: self.note("open"),
            on_failure=lambda _, exc: self.note("failed", exc),
            on_close=lambda _, exc: self.note("closed", type(exc)),
        )
        self.codec: Codec | PlainPika = PlainPika(self.channels) if plain else Codec(self.transport)
        self.transport.start()
        tune = Connection.Tune(channel_max=2047, frame_max=frame_max, heartbeat=60)
        self.transport.feed(START + method(0, tune) + OPEN_OK)
        for number in CHANNELS:
            self._open(number)
        self.transport.add_on_connection_blocked_callback(lambda *_: self.note("blocked"))
        self.transport.add_on_connection_unblocked_callback(lambda *_: self.note("unblocked"))
        assert self.events == ["open", *(("channel", number) for number in CHANNELS)]

    def note(self, *event: Any) -> None:
        self.events.append(event if len(event) > 1 else event[0])

    def written(self) -> bytes:
        """Return the bytes written since the last time, sent or not."""
        data = [*self._sent(), self.transport._sending, *self.transport._out]
        self.transport._sending = memoryview(b"")
        self.transport._out.clear()
        return b"".join(data)

    def _sent(self) -> Iterator[bytes]:
        self._ends[1].setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                yield self._ends[1].recv(1 << 20)

    def close(self) -> None:
        self.transport.close_socket()
        self._ends[1].close()

    def _open(self, number: int) -> None:
        channel = self.channels[number] = self.transport.channel(
            number, lambda _: self.note("channel", number)
        )
        channel.add_on_close_callback(lambda _, exc: self.note("gone", number, exc.reply_code))
        if isinstance(self.codec, Codec):
            self.codec.set_returns(
                number,
                lambda m: self.note("return", number, m.reply_text, m.properties, m.body),
            )
        else:
            channel.add_on_return_callback(
                lambda _, m, p, body: self.note(
                    "return", number, m.reply_text, Properties.from_pika(p), body
                )
            )
        channel.add_on_cancel_callback(lambda f: self.note("cancel", number, f.method.consumer_tag))
        self.transport.feed(method(number, Channel.OpenOk()))
        for tag in CONSUMERS:
            called: Any = on_messages(self._on_message(number))
            if isinstance(self.codec, Codec):
                self.codec.add_consumer(number, tag, self._on_message(number))
                called = not_called
            channel.basic_consume("q", called, consumer_tag=tag)
            self.transport.feed(method(number, Basic.ConsumeOk(tag)))
        if number == CONFIRMING:
            called = on_confirms(self._on_confirm)
            if isinstance(self.codec, Codec):
                self.codec.set_confirms(number, self._on_confirm)
                called = not_called
            channel.confirm_delivery(called)
            self.transport.feed(method(number, Confirm.SelectOk()))

    def _on_message(self, number: int) -> Callable[[Delivery], None]:
        def on_message(delivery: Delivery) -> None:
            self.note("message", number, arguments(delivery), content(delivery))

        return on_message

    def _on_confirm(self, *confirm: Any) -> None:
        self.note("confirm", confirm)


def arguments(delivery: Delivery) -> tuple[Any, ...]:
    """Return the arguments of basic.deliver."""
    return (
        delivery.consumer_tag,
        delivery.delivery_tag,
        delivery.redelivered,
        delivery.exchange,
        delivery.routing_key,
    )


def content(delivery: Delivery) -> tuple[dict[str, Any], bytes]:
    """Return properties and body."""
    return delivery.properties.as_dict(), delivery.body


@contextmanager
def both(frame_max: int = FRAME_MAX) -> Iterator[tuple[FedTransport, FedTransport]]:
    """Yield a transport with our codec and one with the codec of pika."""
    sides = FedTransport(frame_max), FedTransport(frame_max, plain=True)
    try:
        yield sides
    finally:
        for side in sides:
            side.close()


def pieces(
    data: bytes, seed: int, lengths: Sequence[int] = (1, 2, 7, 8, 9, 100, 5000)
) -> Iterator[bytes]:
    """Split *data* at random points, the same for a *seed*: into single bytes and long pieces."""
    cut, at = random.Random(seed), 0
    while at < len(data):
        after = at + cut.choice(lengths)
        yield data[at:after]
        at = after


def first_difference(ours: Sequence[Any], theirs: Sequence[Any]) -> int | None:
    """Return the first index at which two streams differ, or None if they are equal."""
    if ours == theirs:
        return None
    ends = range(1, max(len(ours), len(theirs)) + 1)
    return bisect.bisect_left(ends, True, key=lambda end: ours[:end] != theirs[:end])
