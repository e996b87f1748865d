"""A synchronous AMQP client that sends methods and keeps everything that it receives.

It uses the codec of pika, and connects to a broker through a socket, or to a `ClientConnection` in
this process.
"""

from __future__ import annotations

import socket
from typing import Any, NamedTuple, Protocol

import pika
import pika.frame
from pika import spec

from postage.broker.session.handshake import Stage
from postage.broker.session.node import Node

PROTOCOL_HEADER = b"AMQP\x00\x00\x09\x01"
FRAME_MAX = 131072
CAPABILITIES = {
    "publisher_confirms": True,
    "basic.nack": True,
    "consumer_cancel_notify": True,
    "authentication_failure_close": True,
}


class Silent(AssertionError):
    """The broker does not send an answer that it must send."""


class Wire(Protocol):
    """The transport of a client."""

    def send(self, data: bytes) -> None:
        """Send *data*."""

    def receive(self) -> bytes:
        """Return what has arrived, or b"" at the end; raise `Silent` after the timeout."""

    def close(self) -> None:
        """Drop the connection."""


class SocketWire:
    """A socket that is connected to a broker."""

    def __init__(self, host: str, port: int, timeout: float = 2.0) -> None:
        self.socket = socket.create_connection((host, port), timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def receive(self) -> bytes:
        try:
            return self.socket.recv(1 << 16)
        except TimeoutError as exc:
            raise Silent from exc
        except ConnectionResetError:
            return b""

    def close(self) -> None:
        self.socket.close()


class ConnectionWire:
    """A connection of *node* in this process, without a socket."""

    def __init__(self, node: Node) -> None:
        self.connection = node.open_connection(lambda: None)

    def send(self, data: bytes) -> None:
        self.connection.feed(data)

    def receive(self) -> bytes:
        data = self.connection.take_output()
        if not data and self.connection.stage is not Stage.CLOSED:
            raise Silent
        return data

    def close(self) -> None:
        self.connection.close()


class Event(NamedTuple):
    """A method from the broker, with its content if it has one."""

    channel: int
    method: Any
    properties: dict[str, Any] | None = None
    body: bytes | None = None


class SyncClient:
    """One connection; `events` are those that were received and not taken yet."""

    def __init__(
        self, wire: Wire, vhost: str, user: str = "guest", password: str = "guest"
    ) -> None:
        self.wire = wire
        self._buffer = b""
        self._content: dict[int, list[Any]] = {}
        self.events: list[Event] = []
        self.ended = False
        wire.send(PROTOCOL_HEADER)
        self.wait(0, spec.Connection.Start)
        self.version: str = self.events[-1].method.server_properties["version"]
        response = f"\0{user}\0{password}"
        self.send(
            0,
            spec.Connection.StartOk(
                {"capabilities": CAPABILITIES}, "PLAIN", response.encode(), "en_US"
            ),
        )
        self.wait(0, spec.Connection.Tune)
        self.send(0, spec.Connection.TuneOk(2047, FRAME_MAX, 0), spec.Connection.Open(vhost))
        self.wait(0, spec.Connection.OpenOk)
        self.events.clear()

    def send(self, channel: int, *methods: Any) -> None:
        """Send *methods* as one write."""
        self._write(b"".join(pika.frame.Method(channel, each).marshal() for each in methods))

    def publish(
        self, channel: int, method: Any, properties: dict[str, Any] | None, body: bytes
    ) -> None:
        """Send a basic.publish with its content."""
        room = FRAME_MAX - 8
        parts = [body[at : at + room] for at in range(0, len(body), room)]
        header = pika.BasicProperties(**(properties or {}))
        frames = [
            pika.frame.Method(channel, method),
            pika.frame.Header(channel, len(body), header),
            *(pika.frame.Body(channel, part) for part in parts),
        ]
        self._write(b"".join(frame.marshal() for frame in frames))

    def _write(self, data: bytes) -> None:
        if self.ended:
            return
        try:
            self.wire.send(data)
        except OSError:
            self.ended = True

    def wait(self, channel: int, *kinds: type, count: int = 1) -> None:
        """Wait for *count* methods of *kinds* on *channel*, or for the end of the channel."""
        ends = (spec.Channel.Close, *kinds)
        while not self.ended:
            found = [e for e in self.events if e.channel == channel and isinstance(e.method, kinds)]
            if len(found) >= count or any(
                e.channel == channel and isinstance(e.method, ends[:1]) for e in self.events
            ):
                return
            self.pump()

    def pump(self) -> None:
        """Receive and decode what has arrived."""
        data = self.wire.receive()
        if not data:
            self.ended = True
        self._buffer += data
        while self._buffer:
            used, frame = pika.frame.decode_frame(self._buffer)
            if frame is None:
                break
            self._buffer = self._buffer[used:]
            self._take(frame)

    def _take(self, frame: Any) -> None:
        number = frame.channel_number
        if isinstance(frame, pika.frame.Method):
            if spec.has_content(frame.method.INDEX):
                self._content[number] = [frame.method]
                return
            self._event(Event(number, frame.method))
        elif not isinstance(frame, pika.frame.Heartbeat):
            self._content[number].append(frame)
            self._finish_content(number)

    def _finish_content(self, number: int) -> None:
        method, header, *bodies = self._content[number]
        body = b"".join(each.fragment for each in bodies)
        if len(body) == header.body_size:
            del self._content[number]
            values = {
                name: value for name, value in vars(header.properties).items() if value is not None
            }
            self._event(Event(number, method, values, body))

    def _event(self, event: Event) -> None:
        self.events.append(event)
        if isinstance(event.method, spec.Connection.Close):
            self.send(0, spec.Connection.CloseOk())
            self.ended = True
        elif isinstance(event.method, spec.Connection.CloseOk):
            self.ended = True
        elif isinstance(event.method, spec.Channel.Close):
            self.send(event.channel, spec.Channel.CloseOk())

    def take_events(self) -> list[Event]:
        """Return the events so far, and remove them."""
        events, self.events = self.events, []
        return events

    def close(self) -> None:
        """Close the connection in order."""
        if not self.ended:
            self.send(0, spec.Connection.Close(200, "bye", 0, 0))
            self.wait(0, spec.Connection.CloseOk)
        self.wire.close()
