"""What goes wrong between a client and its broker, on demand: for tests of the client.

RabbitMQ does all of this too, but never when a test wants it.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from postage.broker.wire import framing
from postage.broker.wire.exceptions import ChannelFault

if TYPE_CHECKING:
    from postage.broker.session.client_connection import ClientConnection
    from postage.broker.session.node import Node

__all__ = ["Faults", "FrameInterceptor"]

Run = Callable[[Callable[[], Any]], Any]
"""Runs a function where the broker runs, and returns what it returns."""

_FRAME = struct.Struct(">BHI")
_ACK, _NACK = b"\x00\x3c\x00\x50", b"\x00\x3c\x00\x78"


class _Rule(Protocol):
    """One kind of trouble, for the connections whose name contains *name*."""

    name: str

    def incoming(self, interceptor: FrameInterceptor) -> None:
        """A frame of the client has been dealt with."""

    def outgoing(self, interceptor: FrameInterceptor, frame: bytes) -> bytes:
        """Return what is to be sent instead of *frame*."""


@dataclass
class _DropAfter:
    """Ends a connection when it has sent so many frames; the answers are lost as well."""

    name: str
    frames: int
    seen: Counter[int] = field(default_factory=Counter)

    def incoming(self, interceptor: FrameInterceptor) -> None:
        self.seen[interceptor.connection.id] += 1
        if self.seen[interceptor.connection.id] == self.frames:
            interceptor.drop()

    def outgoing(self, interceptor: FrameInterceptor, frame: bytes) -> bytes:  # noqa: ARG002
        return frame


@dataclass
class _Confirms:
    """Does something to the next *left* confirms."""

    name: str
    left: int
    change: Callable[[FrameInterceptor, bytes], bytes]

    def incoming(self, interceptor: FrameInterceptor) -> None:
        pass

    def outgoing(self, interceptor: FrameInterceptor, frame: bytes) -> bytes:
        if not self.left or frame[:1] != b"\x01" or frame[7:11] != _ACK:
            return frame
        self.left -= 1
        return self.change(interceptor, frame)


@dataclass
class FrameInterceptor:
    """Sits between a connection and its frames, and lets the rules meddle with them."""

    connection: ClientConnection
    rules: list[_Rule]
    silent: bool = False
    """True: nothing goes in or out, and the socket stays open."""
    _lost: bool = False
    _released: list[bytes] = field(default_factory=list)

    def incoming(
        self, kind: int, channel: int, payload: bytes, go_on: Callable[[int, int, bytes], None]
    ) -> None:
        """Take a frame of the client; *go_on* deals with it."""
        if self.silent:
            return
        go_on(kind, channel, payload)
        for rule in self._mine():
            rule.incoming(self)

    def outgoing(self, data: bytes) -> bytes:
        """Return what is to be sent instead of *data*, which are whole frames."""
        if self.silent or self._lost:
            return b""
        parts, self._released = self._released, []
        if data == framing.PROTOCOL:  # no frame, but a word to a client of another version
            return data
        parts += (self._changed(frame) for frame in _frames(data))
        return b"".join(parts)

    def _changed(self, frame: bytes) -> bytes:
        for rule in self._mine():
            frame = rule.outgoing(self, frame)
        return frame

    def _mine(self) -> Iterator[_Rule]:
        return (rule for rule in list(self.rules) if rule.name in self.connection.name)

    def drop(self) -> None:
        """End the connection without a word; what was not sent yet is lost."""
        self._lost = True
        self.connection.drop()

    def send_later(self, seconds: float, frame: bytes) -> None:
        """Send *frame* in *seconds*, past the rules."""

        def send() -> None:
            self._released.append(frame)
            self.connection.write(b"")

        self.connection.node.timers.later(seconds, send)


class Faults:
    """Trouble to order.  Reach it as ``broker.faults``; `clear` ends all of it.

    *connection* chooses by a part of what a client calls itself (``connection_name``), as
    ``"publishing"`` for the connection on which Postage publishes; by default it is all of them,
    those to come included.
    """

    def __init__(self, node: Node, run: Run | None = None) -> None:
        self._node = node
        self._run: Run = run or (lambda call: call())
        self._rules: list[_Rule] = []

    # --- connections

    def drop(self, connection: str = "", *, after_frames: int = 0) -> int:
        """End connections without a word, as a broken network does.

        With *after_frames*, each one ends when it has sent so many more frames (a publish is three,
        with an empty body two): they are carried out, but the answers are lost.  Returns how many
        connections there are now that this concerns.
        """
        return int(self._run(lambda: self._drop(connection, after_frames)))

    def _drop(self, connection: str, after_frames: int) -> int:
        interceptors = self._interceptors(connection)
        if after_frames:
            self._rules.append(_DropAfter(connection, after_frames))
        else:
            for interceptor in interceptors:
                interceptor.drop()
        return len(interceptors)

    def silence(self, connection: str = "") -> int:
        """Let connections be half-open: the socket stays, nothing is read, nothing is sent.

        Their clients find out by the heartbeats that are missing.  Only those that there are now;
        returns how many.
        """
        return int(self._run(lambda: self._silence(connection)))

    def _silence(self, connection: str) -> int:
        interceptors = self._interceptors(connection)
        for interceptor in interceptors:
            interceptor.silent = True
        return len(interceptors)

    def block(self, reason: str = "low on memory") -> None:
        """Send Connection.Blocked to those who publish, and read from them no more."""

        def block() -> None:
            self._node.alarm_held = True
            self._node.set_alarm(reason)

        self._run(block)

    def unblock(self) -> None:
        """Undo `block`: send Connection.Unblocked."""

        def unblock() -> None:
            self._node.alarm_held = False
            self._node.set_alarm(None)

        self._run(unblock)

    # --- confirms

    def delay_confirms(self, seconds: float, count: int = 1, connection: str = "") -> None:
        """Hold the next *count* confirms back for *seconds*.

        One confirm may stand for several messages, those that were published at the same time.
        """

        def change(interceptor: FrameInterceptor, frame: bytes) -> bytes:
            interceptor.send_later(seconds, frame)
            return b""

        self._on_confirms(change, count, connection)

    def lose_confirms(self, count: int = 1, connection: str = "") -> None:
        """Do not send the next *count* confirms; the messages are in their queues."""
        self._on_confirms(lambda _intercept, _frame: b"", count, connection)

    def nack_confirms(self, count: int = 1, connection: str = "") -> None:
        """Turn the next *count* confirms into Basic.Nack; the messages are in their queues."""

        def change(_intercept: FrameInterceptor, frame: bytes) -> bytes:
            return frame.replace(_ACK, _NACK, 1)

        self._on_confirms(change, count, connection)

    def _on_confirms(
        self, change: Callable[[FrameInterceptor, bytes], bytes], count: int, connection: str
    ) -> None:
        def add() -> None:
            self._interceptors(connection)
            self._rules.append(_Confirms(connection, count, change))

        self._run(add)

    # --- queues

    def deliver_twice(self, queue: str, count: int = 1, vhost: str = "/") -> None:
        """Put the next *count* messages for *queue* into it twice, as a repeated publish does."""
        self._run(lambda: self._node.vhosts[vhost].duplicates.update({queue: count}))

    def cancel_consumers(self, queue: str, vhost: str = "/") -> int:
        """Send Basic.Cancel to the consumers of *queue*, which stays; return how many they were."""
        return int(self._run(lambda: self._cancel_consumers(queue, vhost)))

    def _cancel_consumers(self, queue: str, vhost: str) -> int:
        place = self._node.vhosts[vhost]
        consumers = place.queues[queue].consumers
        for consumer in consumers:
            place.queues[queue].remove_consumer(consumer)
            consumer.cancelled()
        return len(consumers)

    def refuse_declare(
        self, name: str, code: int = 406, text: str = "a test wants it so", vhost: str = "/"
    ) -> None:
        """Answer the next declaration of the queue or exchange *name* by closing the channel."""
        self._run(
            lambda: self._node.vhosts[vhost].refusals.update({name: ChannelFault(code, text)})
        )

    def clear(self) -> None:
        """Undo what is undoable: from here on all goes well.  Silent connections are dropped."""
        self._run(self._clear)

    def _clear(self) -> None:
        self._rules.clear()
        self._node.on_connection = None
        for vhost in self._node.vhosts.values():
            vhost.duplicates.clear()
            vhost.refusals.clear()
        for connection in list(self._node.connections):
            if connection.interceptor is not None and connection.interceptor.silent:
                connection.interceptor.drop()
        if self._node.alarm_held:
            self._node.alarm_held = False
            self._node.set_alarm(None)

    # --- interceptors

    def _interceptors(self, connection: str) -> list[FrameInterceptor]:
        """Return the interceptors of the connections meant; from now on all have one."""
        self._node.on_connection = self._intercept
        connections = sorted(self._node.connections, key=lambda connection: connection.id)
        interceptors = [self._intercept(connection) for connection in connections]
        return [
            interceptor for interceptor in interceptors if connection in interceptor.connection.name
        ]

    def _intercept(self, connection: ClientConnection) -> FrameInterceptor:
        if connection.interceptor is None:
            connection.interceptor = FrameInterceptor(connection, self._rules)
        return connection.interceptor


def _frames(data: bytes) -> Iterator[bytes]:
    """Cut *data*, which the broker wrote, into its frames."""
    at = 0
    while at < len(data):
        _, _, size = _FRAME.unpack_from(data, at)
        yield data[at : at + size + 8]
        at += size + 8
