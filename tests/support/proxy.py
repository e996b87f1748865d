"""A TCP proxy on 127.0.0.1 between components and their broker: a network that can fail."""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable
from typing import Any, TypeVar

import gevent
import gevent.server
import gevent.socket
from gevent.queue import Queue

from postage.broker import BrokerThread

T = TypeVar("T")
Buffer = Queue[tuple[float, bytes]]

CHUNK = 16_384
"""Bytes read at once."""
MAX_CHUNKS = 64
"""How many chunks each direction of a connection buffers; a full buffer stops its sender."""


class ProxiedConnection:
    """One connection through the proxy.

    A *way* is 0 to the broker and 1 from the broker.  A silent connection swallows all bytes, also
    the end of one side; it ends when both sides have closed their sockets.
    """

    def __init__(self, proxy: Proxy, client: Any, broker: Any) -> None:
        self.proxy, self._sources = proxy, (client, broker)
        self.is_silent = proxy.silences_new
        self.closed = [False, False]
        self.remaining = [math.inf, math.inf]
        """Bytes that may still cross before the connection is cut."""
        self.buffers: tuple[Buffer, Buffer] = Queue(MAX_CHUNKS), Queue(MAX_CHUNKS)
        self.greenlets = [
            gevent.spawn(method, way) for method in (self._read, self._write) for way in (0, 1)
        ]

    def _read(self, way: int) -> None:
        data = b"?"
        while data:
            try:
                data = self._sources[way].recv(CHUNK)
            except OSError:
                data = b""
            if not self.is_silent:
                self.buffers[way].put((time.monotonic() + self.proxy.delay, data))
        self.closed[way] = True
        if self.is_silent and all(self.closed):
            self.cut()

    def _write(self, way: int) -> None:
        data = b"?"
        while data:
            due, data = self.buffers[way].get()
            gevent.sleep(max(0.0, due - time.monotonic()))
            try:
                self._send(way, data)
            except OSError:
                break
        if not self.is_silent:
            self.cut()

    def _send(self, way: int, data: bytes) -> None:
        while data and not self.is_silent:
            rate = self.proxy.rate
            size = max(1, int(min(len(data), rate / 10)))
            part, data = data[:size], data[size:]
            if len(part) > self.remaining[way]:
                part = part[: int(self.remaining[way])]
                gevent.spawn(self.cut)
            self.remaining[way] -= len(part)
            self._sources[1 - way].sendall(part)
            if rate < math.inf:
                gevent.sleep(size / rate)

    def cut(self) -> None:
        """Close both sides at once; bytes in flight are lost."""
        for sock in self._sources:
            sock.close()
        gevent.killall(self.greenlets, block=False)


def in_thread(method: Callable[..., T]) -> Callable[..., T]:
    """Make a method of `Proxy` run in the thread of the proxy."""

    @functools.wraps(method)
    def call(self: Proxy, *arguments: Any, **named: Any) -> T:
        return self._thread.call(functools.partial(method, self, *arguments, **named))

    return call


class Proxy:
    """Leads from `port` to a *target* port of 127.0.0.1; runs in a thread of its own.

    Any thread may call its methods; each blocks for less than a millisecond.
    """

    def __init__(self, target: int) -> None:
        self.target = target
        self.port = 0
        self.accepted = 0  # connections so far
        self.delay, self.rate, self.silences_new = 0.0, math.inf, False
        self._connections: list[ProxiedConnection] = []
        self._server: Any = None
        self._thread = BrokerThread()  # lends its thread and hub; no client uses its broker
        self._thread.start()
        self.accept()

    def __enter__(self) -> Proxy:  # noqa: PYI034 - Self needs Python 3.11
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def connections(self) -> int:
        """The number of open connections, including silent ones."""
        return len(self._open())

    @property
    def undetected(self) -> int:
        """The number of silent connections that their clients have not closed yet."""
        return sum(each.is_silent and not each.closed[0] for each in self._open())

    @property
    def pending_cuts(self) -> int:
        """The number of connections that `cut_after` is still to cut."""
        return sum(min(each.remaining) < math.inf for each in self._open())

    @property
    def buffered(self) -> int:
        """The number of bytes in flight."""
        buffers = [buffer for each in self._open() for buffer in each.buffers]
        return sum(len(data) for buffer in buffers for _, data in list(buffer.queue))

    @in_thread
    def cut(self) -> int:
        """Cut each connection, and end the silence of new ones; return how many were cut."""
        self.silences_new = False
        return len([each.cut() for each in self._open()])

    @in_thread
    def cut_after(self, size: int, *, from_broker: bool = False) -> int:
        """Cut each open connection when *size* more bytes have crossed to the broker or from it.

        Returns the number of these connections.
        """
        connections = self._open()
        for each in connections:
            each.remaining[from_broker] = size
        return len(connections)

    @in_thread
    def refuse(self) -> None:
        """Refuse new connections; the open ones stay."""
        if self._server is not None:
            self._server.close()
            self._server = None

    @in_thread
    def accept(self) -> None:
        """Accept new connections, always on the same port."""
        if self._server is None:
            self._server = gevent.server.StreamServer(("127.0.0.1", self.port), self._serve)
            self._server.start()
            self.port = self._server.server_port

    @in_thread
    def half_open(self, *, new: bool = False) -> int:
        """Make all open connections silent; return their number.

        With *new*, new connections are silent, too, until `cut`.
        """
        self.silences_new = new
        connections = self._open()
        for each in connections:
            each.is_silent = True
        return len(connections)

    def slow(self, *, delay: float = 0.0, rate: float = math.inf) -> None:
        """Delay each byte by *delay* seconds, and pass *rate* bytes a second in each direction."""
        self.delay, self.rate = delay, rate

    def close(self) -> None:
        """Cut all connections, stop listening, and end the thread."""
        self.cut()
        self.refuse()
        self._thread.stop()

    def _serve(self, client: Any, _address: object) -> None:
        try:
            broker = gevent.socket.create_connection(("127.0.0.1", self.target), 5.0)
        except OSError:
            client.close()
            return
        for sock in (client, broker):
            sock.settimeout(None)
            sock.setsockopt(gevent.socket.IPPROTO_TCP, gevent.socket.TCP_NODELAY, 1)
        connection = ProxiedConnection(self, client, broker)
        self._connections.append(connection)
        self.accepted += 1
        gevent.joinall(connection.greenlets)
        self._connections.remove(connection)

    def _open(self) -> list[ProxiedConnection]:
        connections = list(self._connections)
        return [each for each in connections if not all(run.dead for run in each.greenlets)]
