"""A transport without a broker, on the hot path or on pika's: it is fed by hand."""

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

from postage.green.amqp.codec import Codec, PlainPath, from_pika
from postage.green.amqp.transport import Transport
from tests.support.peer import FRAME_MAX, OPEN_OK, START
from tests.support.wire import method

CHANNELS = (1, 2, 3)
CONFIRMING = 3
CONSUMERS = ("ours", "yours")


class Rig:
    """A real transport with one of the two paths on it; it is fed, and notes what happens."""

    def __init__(self, path: type[Codec | PlainPath], frame_max: int = FRAME_MAX) -> None:
        self.events: list[Any] = []
        self._ends = gevent.socket.socketpair()
        self.transport = Transport(
            pika.ConnectionParameters(heartbeat=60),
            self._ends[0],
            on_open=lambda _: self.note("open"),
            on_failure=lambda _, exc: self.note("failed", exc),
            on_close=lambda _, exc: self.note("closed", type(exc)),
        )
        self.path = path(self.transport) if path is Codec else PlainPath()
        self.transport.start()
        tune = Connection.Tune(channel_max=2047, frame_max=frame_max, heartbeat=60)
        self.transport.feed(START + method(0, tune) + OPEN_OK)
        self.channels = {number: self._channel(number) for number in CHANNELS}
        self.transport.add_on_connection_blocked_callback(lambda *_: self.note("blocked"))
        self.transport.add_on_connection_unblocked_callback(lambda *_: self.note("unblocked"))
        assert self.events == ["open", *(("channel", number) for number in CHANNELS)]

    def note(self, *event: Any) -> None:
        self.events.append(event if len(event) > 1 else event[0])

    def written(self) -> bytes:
        """Return what was written, sent or not, and forget it."""
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
        self.transport.abandon()
        self._ends[1].close()

    def _channel(self, number: int) -> Any:
        channel = self.transport.channel(number, lambda _: self.note("channel", number))
        channel.add_on_close_callback(lambda _, exc: self.note("gone", number, exc.reply_code))
        channel.add_on_return_callback(
            lambda _, m, p, body: self.note("return", number, m.reply_text, from_pika(p), body)
        )
        channel.add_on_cancel_callback(lambda f: self.note("cancel", number, f.method.consumer_tag))
        self.transport.feed(method(number, Channel.OpenOk()))
        for tag in CONSUMERS:
            called = self.path.on_messages(channel, tag, self._on_message(number))
            channel.basic_consume("q", called, consumer_tag=tag)
            self.transport.feed(method(number, Basic.ConsumeOk(tag)))
        if number == CONFIRMING:
            note = self.path.on_confirms(channel, lambda c: self.note("confirm", number, c))
            channel.confirm_delivery(note)
            self.transport.feed(method(number, Confirm.SelectOk()))
        return channel

    def _on_message(self, number: int) -> Callable[..., None]:
        return lambda deliver, properties, body: self.note(
            "message", number, deliver, properties.as_dict(), body
        )


@contextmanager
def both(frame_max: int = FRAME_MAX) -> Iterator[tuple[Rig, Rig]]:
    """Yield a rig on the hot path and one on pika's."""
    rigs = Rig(Codec, frame_max), Rig(PlainPath, frame_max)
    try:
        yield rigs
    finally:
        for rig in rigs:
            rig.close()


def pieces(
    data: bytes, seed: int, lengths: Sequence[int] = (1, 2, 7, 8, 9, 100, 5000)
) -> Iterator[bytes]:
    """Cut *data* at points that *seed* decides: some byte by byte, some in long pieces."""
    cut, at = random.Random(seed), 0
    while at < len(data):
        after = at + cut.choice(lengths)
        yield data[at:after]
        at = after


def first_difference(ours: Sequence[Any], theirs: Sequence[Any]) -> int | None:
    """Return where two streams differ, which may be too long to be shown; None: nowhere."""
    if ours == theirs:
        return None
    ends = range(1, max(len(ours), len(theirs)) + 1)
    return bisect.bisect_left(ends, True, key=lambda end: ours[:end] != theirs[:end])
