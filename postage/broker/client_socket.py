"""A client's socket around its `ClientConnection`: reads and writes from gevent's hub."""

from __future__ import annotations

import logging
from typing import Any

import gevent
import gevent.event
import gevent.hub
import gevent.socket

from postage.broker.session.client_connection import ClientConnection
from postage.broker.session.node import Node

__all__ = ["ClientSocket"]

logger = logging.getLogger(__name__)

READ_SIZE = 1 << 15
"""Bytes taken at once, after which others have their turn.

Some hundred small messages: what comes of them is with its receiver, and may be worked on, while
the next are dealt with here.  Much less costs more turns, much more lets everybody wait in turn.
"""
READABLE, WRITABLE = 1, 2


class ClientSocket:
    """One connection; its greenlet waits for the end, all else happens in the hub."""

    def __init__(self, node: Node, sock: Any, *, loopback: bool) -> None:
        sock.setsockopt(gevent.socket.IPPROTO_TCP, gevent.socket.TCP_NODELAY, 1)
        sock.setblocking(False)  # noqa: FBT003 - the socket's own signature
        self.sock, self._node = sock, node
        self.greenlet = gevent.getcurrent()
        self._loop = gevent.hub.get_hub().loop
        self._writer = self._loop.io(sock.fileno(), WRITABLE)
        self._reader = self._loop.io(sock.fileno(), READABLE)
        self._reads = self._lingers = False
        self._sending = memoryview(b"")
        self._counted = 0
        """Bytes of it that the node knows of."""
        self._due = False
        """True while `flush` will be called anyway."""
        self._over = gevent.event.Event()
        self.connection: ClientConnection = node.open_connection(self._on_output, loopback=loopback)

    def run(self) -> None:
        """Serve until the connection ends; switches."""
        self._read_on()
        try:
            self._over.wait()
        finally:
            self._end()

    # --- in

    def _read_on(self) -> None:
        if not self._reads and not self.connection.is_held_back:
            self._reads = True
            self._reader.start(self._on_readable)

    def _on_readable(self) -> None:
        if self.connection.is_held_back:
            # Held back, not refused: the client's own socket fills, and the client waits.
            self._reads = False
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
            self.connection.drop()
            self._over.set()

    def _feed(self, data: bytes) -> None:
        try:
            self.connection.feed(data)
        except Exception:  # a mistake of ours: it ends this connection, and no other
            logger.exception("%r has met a mistake of the broker.", self.connection)
            self.connection.shut_down(541, "a mistake of the broker")

    # --- out

    def _on_output(self) -> None:
        """The connection has output, or has ended, or takes input again."""
        if not self._due or self.connection.has_ended:
            self._due = True
            self._loop.run_callback(self.flush)

    def flush(self) -> None:
        """Send what there is; go on when the socket takes more."""
        if self._over.is_set():
            return
        try:
            self._send()
        except BlockingIOError:
            self._wait_for_room()
            return
        except OSError:
            self.connection.drop()
        self._writer.stop()
        self._due = False
        self._count(0)
        self._go_on()

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
        self._count(len(self._sending))
        if self.connection.has_ended and not self._lingers:
            self._lingers = True
            self._node.timers.later(self._node.limits.handshake, self._over.set)

    def _count(self, backlog: int) -> None:
        """Have the node count what the client leaves unread."""
        if backlog != self._counted:
            self._node.account(backlog - self._counted)
            self._counted = backlog

    def _go_on(self) -> None:
        """All is sent: see what waited for that."""
        if self.connection.has_ended:
            self._over.set()
        else:
            self.connection.resume()
            self._read_on()

    # --- the end

    def finish(self) -> None:
        """Send what the socket takes now, and end."""
        self.flush()
        self.connection.drop()
        self._over.set()

    def _end(self) -> None:
        self._over.set()
        self.connection.drop()
        self._count(0)
        for watcher in (self._reader, self._writer):
            watcher.stop()
            watcher.close()
        self.sock.close()
