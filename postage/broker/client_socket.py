"""The socket of a client around its `ClientConnection`: reads and writes in gevent's hub."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import gevent
import gevent.event
import gevent.hub
import gevent.socket

from postage.broker.session.client_connection import ClientConnection
from postage.broker.session.node import Node
from postage.log_records import counted, logger_of, place_of

__all__ = ["ClientSocket"]

logger = logger_of(__name__)

READ_SIZE = 1 << 15
"""Bytes read at once, before other connections have their turn.

This is a few hundred small messages: their receivers can work on them while the broker handles the
next ones.  A much smaller size costs more turns of the hub; with a much larger one, all other
clients wait longer.
"""
READABLE, WRITABLE = 1, 2


class ClientSocket:
    """One socket.  Its greenlet only waits for the end; all I/O happens in the hub."""

    def __init__(self, node: Node, sock: Any, address: str, *, loopback: bool) -> None:
        sock.setsockopt(gevent.socket.IPPROTO_TCP, gevent.socket.TCP_NODELAY, 1)
        sock.setblocking(False)  # noqa: FBT003 - the socket's own signature
        self.sock, self._node = sock, node
        self.greenlet = gevent.getcurrent()
        self._loop = gevent.hub.get_hub().loop
        self._writer = self._loop.io(sock.fileno(), WRITABLE)
        self._reader = self._loop.io(sock.fileno(), READABLE)
        # A callback would not do: gevent makes 50 of them before it looks at other sockets.
        self._next_turn = self._loop.timer(0)
        self._is_reading = self._is_lingering = False
        self._sending = memoryview(b"")
        self._charged = 0
        """Unsent bytes that have been charged."""
        self._flush_due = False
        """True while a call of `flush` is pending, or waits for the socket."""
        self._ended = gevent.event.Event()
        self.connection: ClientConnection = node.open_connection(
            self._on_output, address=address, loopback=loopback
        )
        self.connection.on_abort = self._drop

    def run(self) -> None:
        """Serve until the connection ends; switches."""
        self._read_on()
        try:
            self._ended.wait()
        finally:
            self._release()

    # --- in

    def _read_on(self) -> None:
        if not self._is_reading and not self.connection.reading_paused:
            self._is_reading = True
            self._reader.start(self._on_readable)

    def _on_readable(self) -> None:
        if self.connection.reading_paused:
            # The socket buffers fill, and the client waits until the broker reads again.
            self._is_reading = False
            self._reader.stop()
            return
        try:
            data = self.sock.recv(READ_SIZE)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            self._feed(data)
        else:
            self.connection.close()
            self._ended.set()

    def _feed(self, data: bytes) -> None:
        self._guarded(partial(self.connection.feed, data))

    def _guarded(self, step: Callable[[], object]) -> None:
        """Do *step*; a bug in the broker ends this connection only, and is not raised."""
        try:
            step()
        except Exception as exc:  # a bug in the broker
            sort = counted(*place_of(exc))
            logger.exception("%r met a bug in the broker.", self.connection, extra=sort)
            try:
                self.connection.stop(541, "a bug in the broker")
            except Exception as again:  # it is met again: say no more to the client
                sort = counted(*place_of(again))
                logger.exception("%r cannot be closed in order.", self.connection, extra=sort)
                self._ended.set()

    # --- out

    def _on_output(self) -> None:
        """Flush in the next turn of the hub, which also ends the socket or resumes reading."""
        if not self._flush_due or self.connection.is_closed:
            self._flush_due = True
            self._loop.run_callback(self.flush)

    def flush(self) -> None:
        """Send the output; if the socket buffer is full, go on when there is room."""
        if self._ended.is_set():
            return
        try:
            self._send()
        except BlockingIOError:
            self._wait_for_room()
            return
        except OSError:
            self.connection.close()
        self._writer.stop()
        self._flush_due = False
        self._charge(0)
        if self.connection.is_closed:
            self._ended.set()
        else:
            self._guarded(self._go_on)

    def _go_on(self) -> None:
        if self.connection.has_more and not self.connection.blocked:
            # Deliveries wait, too: they could go on for many turns before the timer is due.
            self._next_turn.start(self._handle_more)
        else:  # while publishers are blocked, the rest of their input waits, and consumers go on
            self.connection.resume()
            self._read_on()

    def _handle_more(self) -> None:
        """Handle more of what was read already."""
        self._guarded(self.connection.resume)
        self._feed(b"")
        self._read_on()

    def _send(self) -> None:
        while True:
            if not self._sending:
                self._sending = memoryview(self.connection.take_output())
            if not self._sending:
                return
            sent = self.sock.send(self._sending)
            self._sending = self._sending[sent:]

    def _wait_for_room(self) -> None:
        self._writer.start(self.flush)
        self.connection.pause()
        self._charge(len(self._sending))
        if self.connection.is_closed and not self._is_lingering:
            self._is_lingering = True
            self._node.timers.later(self._node.limits.handshake, self._ended.set)

    def _charge(self, backlog: int) -> None:
        """Charge the connection for *backlog* bytes that the client has not read."""
        change = backlog - self._charged
        if change:
            self._charged = backlog
            self.connection.hold(change)

    # --- the end

    def close(self) -> None:
        """Send what the socket takes at once, and end the connection; never waits."""
        self.flush()
        self.connection.close()
        self._ended.set()

    def _drop(self) -> None:
        """Drop the output that has been taken, and end."""
        self._sending = memoryview(b"")
        self._charge(0)
        self._ended.set()

    def _release(self) -> None:
        self.connection.abort()
        for watcher in (self._reader, self._writer, self._next_turn):
            watcher.stop()
            watcher.close()
        self.sock.close()
