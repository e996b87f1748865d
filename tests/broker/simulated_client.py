"""A client whose socket is simulated: how much the socket takes is what the test says."""

from __future__ import annotations

from postage.broker.session.node import Node
from postage.broker.wire.framing import PROTOCOL
from postage.broker.wire.methods import encode


class Client:
    """A client with its socket: what `postage.broker.client_socket` is, without a kernel."""

    def __init__(self, node: Node) -> None:
        self.connection = node.open_connection(lambda: None)
        self.connection.on_abort = self._on_abort
        self.charged = 0
        """Bytes that the socket has not taken."""
        self.room: int | None = None
        """Bytes that the socket takes; None: any number."""
        self._sending = self._unread = b""
        self.is_lost = False
        self.partial: list[bytes] = []
        """Frames that would complete a publish."""

    def send(self, data: bytes) -> None:
        """Send *data*, which the broker reads when it reads from this client at all."""
        self._unread += data
        self.turn()

    def turn(self) -> None:
        """Read and write as the broker's side of a socket does in one turn of the hub."""
        if self.is_lost:
            return
        if self._unread and not self.connection.reading_paused:
            data, self._unread = self._unread, b""
            self.connection.feed(data)
        self._flush()

    def _flush(self) -> None:
        while self._sending or (data := self.connection.take_output()):
            self._sending = self._sending or data
            if self.room == 0:
                self.connection.pause()
                self._charge(len(self._sending))
                return
            size = len(self._sending) if self.room is None else min(self.room, len(self._sending))
            self._sending = self._sending[size:]
            if self.room is not None:
                self.room -= size
        self._charge(0)
        if self.connection.is_closed:
            self.lose()
            return
        self.connection.resume()
        if self.connection.has_more:
            self.connection.feed(b"")

    def _charge(self, size: int) -> None:
        change, self.charged = size - self.charged, size
        if change:
            self.connection.hold(change)

    def _on_abort(self) -> None:
        self._sending = self._unread = b""
        self._charge(0)
        self.is_lost = True

    def lose(self) -> None:
        """Lose the connection, at whatever point it is."""
        if not self.is_lost:
            self.connection.abort()


GREETING = b"".join(
    (
        PROTOCOL,
        encode(
            0,
            "connection.start_ok",
            client_properties={
                "capabilities": {"consumer_cancel_notify": True, "connection.blocked": True}
            },
            mechanism="PLAIN",
            response=b"\0guest\0guest",
            locale="en_US",
        ),
        encode(0, "connection.tune_ok", channel_max=8, frame_max=8192, heartbeat=0),
        encode(0, "connection.open", virtual_host="/"),
    )
)
