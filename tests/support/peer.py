"""A fake broker: it speaks as much AMQP as a test needs, and then does what the test says."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import gevent
import gevent.server
import gevent.socket
import pika.frame
from pika import spec

from postage.settings import Settings
from tests.support.wire import method

FRAME_MAX = 131072
CAPABILITIES = {"publisher_confirms": True, "basic.nack": True, "consumer_cancel_notify": True}
START = method(
    0,
    spec.Connection.Start(
        server_properties={"capabilities": CAPABILITIES}, mechanisms="PLAIN", locales="en_US"
    ),
)
TUNE = method(0, spec.Connection.Tune(channel_max=2047, frame_max=FRAME_MAX, heartbeat=60))
OPEN_OK = method(0, spec.Connection.OpenOk())
HEARTBEAT = pika.frame.Heartbeat().marshal()


class Peer:
    """The broker's side of one connection; its methods switch greenlets."""

    def __init__(self, sock: gevent.socket.socket) -> None:
        self.sock = sock
        self._buffer = b""

    def send(self, *data: bytes) -> None:
        """Send *data* as one write."""
        self.sock.sendall(b"".join(data))

    def next(self) -> Any:
        """Return the next frame from the client."""
        while True:
            used, frame = pika.frame.decode_frame(self._buffer)
            if frame is not None:
                self._buffer = self._buffer[used:]
                return frame
            data = self.sock.recv(65536)
            if not data:
                raise EOFError
            self._buffer += data

    def expect(self, kind: type[Any]) -> Any:
        """Return the next frame with a method of this *kind*; skip all frames before it."""
        while True:
            frame = self.next()
            if isinstance(frame, pika.frame.Method) and isinstance(frame.method, kind):
                return frame

    def handshake(self) -> None:
        """Answer the client until its connection is open."""
        assert isinstance(self.next(), pika.frame.ProtocolHeader)
        self.send(START)
        self.expect(spec.Connection.StartOk)
        self.send(TUNE)
        self.expect(spec.Connection.Open)
        self.send(OPEN_OK)

    def open_channel(self, *, confirming: bool = False) -> int:
        """Answer the client until its next channel is open; return the number of the channel."""
        number: int = self.expect(spec.Channel.Open).channel_number
        self.send(method(number, spec.Channel.OpenOk()))
        if confirming:
            self.expect(spec.Confirm.Select)
            self.send(method(number, spec.Confirm.SelectOk()))
        return number

    def until_gone(self) -> None:
        """Read until the client has closed the connection."""
        while self.sock.recv(65536):
            pass


@contextmanager
def listening(serve: Callable[[Peer], object], **settings: Any) -> Iterator[Settings]:
    """Call *serve* for every connection, in a greenlet; yield the settings for clients."""

    def handle(sock: gevent.socket.socket, _address: object) -> None:
        try:
            serve(Peer(sock))
        except (EOFError, OSError):
            pass
        finally:
            sock.close()

    server = gevent.server.StreamServer(("127.0.0.1", 0), handle, spawn=10)
    server.start()
    try:
        yield Settings(host="127.0.0.1", port=server.server_port, **settings)
    finally:
        server.stop(timeout=0)
