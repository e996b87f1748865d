"""Failures on demand between a client and its broker, for tests of the client.

RabbitMQ fails in these ways as well, but not when a test needs it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from postage.broker.core.queue import BrokerQueue
from postage.broker.core.vhost import VHost
from postage.broker.session.client_connection import ClientConnection
from postage.broker.session.node import Node
from postage.broker.wire import framing
from postage.broker.wire.exceptions import ChannelFault
from postage.errors import SettingsError
from postage.protocol import ACK, FRAME_HEAD, FRAME_OVERHEAD, METHOD, NACK

__all__ = ["Faults", "FrameInterceptor"]


@dataclass
class _Rule:
    """One failure, for the connections whose name contains *name*."""

    name: str

    def incoming(self, interceptor: FrameInterceptor) -> None:
        """Count or act on a frame of the client, which has been handled."""

    def outgoing(self, interceptor: FrameInterceptor, frame: bytes) -> bytes:  # noqa: ARG002
        """Return what is sent instead of *frame*."""
        return frame


@dataclass
class _DropAfter(_Rule):
    """Ends a connection after *frames* frames from the client; their answers are lost."""

    frames: int
    seen: Counter[int] = field(default_factory=Counter)

    def incoming(self, interceptor: FrameInterceptor) -> None:
        self.seen[interceptor.connection.id] += 1
        if self.seen[interceptor.connection.id] == self.frames:
            interceptor.drop()


@dataclass
class _Confirms(_Rule):
    """Changes the next *left* confirms."""

    left: int
    change: Callable[[FrameInterceptor, bytes], bytes]

    def outgoing(self, interceptor: FrameInterceptor, frame: bytes) -> bytes:
        if not self.left or frame[7:11] != ACK or frame[0] != METHOD:
            return frame
        self.left -= 1
        return self.change(interceptor, frame)


@dataclass
class FrameInterceptor:
    """Passes the frames of one connection through the rules."""

    connection: ClientConnection
    rules: list[_Rule]
    silent: bool = False
    """True: the socket stays open, but nothing passes in either direction."""
    _lost: bool = False
    _released: list[bytes] = field(default_factory=list)

    def incoming(self, handle: Callable[[], None]) -> None:
        """Take a frame of the client; call *handle* for it unless the connection is silent."""
        if self.silent:
            return
        handle()
        for rule in self._matching_rules():
            rule.incoming(self)

    def outgoing(self, data: bytes) -> bytes:
        """Return what is sent instead of *data*, which are whole frames."""
        if self.silent or self._lost:
            return b""
        parts, self._released = self._released, []
        if data == framing.PROTOCOL:  # no frame, but the answer to a client of another protocol
            return data
        for frame in _frames(data):
            for rule in self._matching_rules():
                frame = rule.outgoing(self, frame)  # noqa: PLW2901 - each rule changes the last result
            parts.append(frame)
        return b"".join(parts)

    def _matching_rules(self) -> Iterator[_Rule]:
        return (rule for rule in list(self.rules) if rule.name in self.connection.name)

    def drop(self) -> None:
        """End the connection without a connection.close, and discard its unsent output."""
        self._lost = True
        self.connection.close()

    def send_later(self, seconds: float, frame: bytes) -> None:
        """Send *frame* in *seconds*, without applying the rules."""

        def send() -> None:
            self._released.append(frame)
            self.connection.write(b"")

        self.connection.host.timers.later(seconds, send)


class Faults:
    """Failures on demand, as ``broker.faults``; `clear` ends all of them.

    *connection* selects connections by a part of their name (``connection_name``): ``"publishing"``
    selects the connection on which Postage publishes.  By default a failure concerns all
    connections, including those that are opened later.  Methods raise `SettingsError` for a virtual
    host or a queue that does not exist.  Call them in the thread of the broker only; those of a
    `BrokerThread` may be called in any thread.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self._rules: list[_Rule] = []

    # --- connections

    def drop(self, connection: str = "", *, after_frames: int = 0) -> int:
        """Close connections without a connection.close, as a broken network does.

        With *after_frames*, each connection ends after that many more frames from its client: the
        frames are carried out, but the answers are lost.  A publish is three frames, or two with an
        empty body.  Returns the number of connections that this concerns now.
        """
        interceptors = self._intercept(connection)
        if after_frames:
            self._rules.append(_DropAfter(connection, after_frames))
        else:
            for interceptor in interceptors:
                interceptor.drop()
        return len(interceptors)

    def silence(self, connection: str = "") -> int:
        """Make the present connections half-open: nothing is read or sent, the socket stays.

        Their clients notice that heartbeats are missing.  Returns the number of connections.
        """
        interceptors = self._intercept(connection)
        for interceptor in interceptors:
            interceptor.silent = True
        return len(interceptors)

    def block(self, reason: str = "low on memory") -> None:
        """Send Connection.Blocked to clients that publish, and stop reading from them."""
        self._node.alarm_held = True
        self._node.set_alarm(reason)

    def unblock(self) -> None:
        """Undo `block`: send Connection.Unblocked."""
        self._node.alarm_held = False
        self._node.set_alarm(None)

    # --- confirms

    def delay_confirms(self, seconds: float, count: int = 1, connection: str = "") -> None:
        """Hold the next *count* confirms back for *seconds*.

        One confirm may stand for several messages that were published at the same time.
        """

        def change(interceptor: FrameInterceptor, frame: bytes) -> bytes:
            interceptor.send_later(seconds, frame)
            return b""

        self._change_confirms(change, count, connection)

    def lose_confirms(self, count: int = 1, connection: str = "") -> None:
        """Discard the next *count* confirms; the messages are in their queues."""
        self._change_confirms(lambda _interceptor, _frame: b"", count, connection)

    def nack_confirms(self, count: int = 1, connection: str = "") -> None:
        """Turn the next *count* confirms into Basic.Nack; the messages are in their queues."""
        self._change_confirms(lambda _, frame: frame.replace(ACK, NACK, 1), count, connection)

    def _change_confirms(
        self, change: Callable[[FrameInterceptor, bytes], bytes], count: int, connection: str
    ) -> None:
        self._intercept(connection)
        self._rules.append(_Confirms(connection, count, change))

    # --- queues

    def deliver_twice(self, queue: str, count: int = 1, vhost: str = "/") -> None:
        """Put the next *count* messages for *queue* into it twice, as a repeated publish does."""
        self._vhost(vhost).duplicates[queue] = count

    def cancel_consumers(self, queue: str, vhost: str = "/") -> int:
        """Send Basic.Cancel to the consumers of *queue*, which stays; return their number."""
        target = self._queue(queue, vhost)
        consumers = target.consumers
        for consumer in consumers:
            target.remove_consumer(consumer)
            consumer.cancelled()
        return len(consumers)

    def refuse_declare(
        self, name: str, code: int = 406, text: str = "a test wants it so", vhost: str = "/"
    ) -> None:
        """Answer the next declaration of the queue or exchange *name* by closing the channel."""
        self._vhost(vhost).refusals[name] = ChannelFault(code, text)

    def _vhost(self, name: str) -> VHost:
        if name not in self._node.vhosts:
            raise SettingsError(f"the broker has no virtual host {name!r}")
        return self._node.vhosts[name]

    def _queue(self, name: str, vhost: str) -> BrokerQueue:
        found = self._vhost(vhost).queues.get(name)
        if found is None:
            others = [each.name for each in self._node.vhosts.values() if name in each.queues]
            hint = f"; give vhost={others[0]!r}, which has it" if others else ""
            raise SettingsError(f"the virtual host {vhost!r} has no queue {name!r}{hint}")
        return found

    def clear(self) -> None:
        """End all failures; silent connections are dropped."""
        self._rules.clear()
        self._node.on_connection = None
        for vhost in self._node.vhosts.values():
            vhost.duplicates.clear()
            vhost.refusals.clear()
        for connection in list(self._node.connections):
            interceptor = connection.interceptor
            if isinstance(interceptor, FrameInterceptor) and interceptor.silent:
                interceptor.drop()
        if self._node.alarm_held:
            self._node.alarm_held = False
            self._node.set_alarm(None)

    # --- interceptors

    def _intercept(self, connection: str) -> list[FrameInterceptor]:
        """Intercept all connections from now on; return the interceptors of those selected."""
        self._node.on_connection = self._interceptor
        connections = sorted(self._node.connections, key=lambda each: each.id)
        interceptors = [self._interceptor(each) for each in connections]
        return [each for each in interceptors if connection in each.connection.name]

    def _interceptor(self, connection: ClientConnection) -> FrameInterceptor:
        """Return the interceptor of *connection*, a new one if it has none."""
        interceptor = connection.interceptor
        if not isinstance(interceptor, FrameInterceptor):
            interceptor = connection.interceptor = FrameInterceptor(connection, self._rules)
        return interceptor


def _frames(data: bytes) -> Iterator[bytes]:
    """Cut *data*, which the broker wrote, into its frames."""
    at = 0
    while at < len(data):
        _, _, size = FRAME_HEAD.unpack_from(data, at)
        after = at + size + FRAME_OVERHEAD
        yield data[at:after]
        at = after
