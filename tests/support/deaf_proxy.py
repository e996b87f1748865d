"""A proxy that swallows chosen requests, so that the broker never answers them."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import gevent
import gevent.server
import gevent.socket
from pika import frame as frames
from pika import spec

HEAD = 7
"""Bytes before the payload of a frame: type, channel and size."""


class DeafProxy:
    """A proxy to the broker on the port *target*; it runs in the hub of the test."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._server = gevent.server.StreamServer(("127.0.0.1", 0), self._serve)
        self._server.start()
        self.port: int = self._server.server_port
        self.ignored: list[tuple[Any, bytes]] = []
        """The methods that are swallowed, such as ``pika.spec.Queue.Declare``, if a frame of theirs
        contains the bytes beside it.  A publish takes its whole channel along: it hangs."""
        self.hanging: list[tuple[Any, int]] = []
        """The channels that hang, each with the socket of its client."""
        self._sockets: set[Any] = set()

    def ignore(self, name: str, *methods: Any) -> None:
        """Swallow the *methods* that mention *name*, from now on."""
        self.ignored += [(method, name.encode()) for method in methods]

    def refuse(self) -> None:
        """Answer the first publish of each channel that hangs with a nack."""
        for client, number in self.hanging:
            client.sendall(frames.Method(number, spec.Basic.Nack(1)).marshal())

    def cut(self) -> None:
        """Cut all connections; new ones are accepted."""
        for each in [*self._sockets]:
            with suppress(OSError):
                each.shutdown(gevent.socket.SHUT_RDWR)

    def close(self) -> None:
        """Stop listening, and cut the connections."""
        self._server.stop(timeout=0)
        self.cut()

    def _serve(self, client: gevent.socket.socket, _address: object) -> None:
        with client, gevent.socket.create_connection(("127.0.0.1", self._target)) as broker:
            self._sockets.add(client)
            broker.sendall(client.recv(8))  # the protocol header
            pumps = [
                gevent.spawn(self._forward, broker, client),
                gevent.spawn(self._filter, client, broker),
            ]
            gevent.wait(pumps, count=1)
            gevent.killall(pumps)  # before their sockets are closed
            self._sockets.discard(client)

    def _forward(self, source: Any, target: Any) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)

    def _filter(self, source: Any, target: Any) -> None:
        heard = b""
        with suppress(OSError):
            while data := source.recv(65536):
                heard += data
                while len(heard) >= HEAD:
                    end = HEAD + struct.unpack_from(">I", heard, 3)[0] + 1
                    if len(heard) < end:
                        break
                    frame, heard = heard[:end], heard[end:]
                    if not self._is_ignored(source, frame):
                        target.sendall(frame)

    def _is_ignored(self, client: Any, frame: bytes) -> bool:
        channel = client, struct.unpack_from(">H", frame, 1)[0]
        if channel in self.hanging:
            return True
        if frame[0] != spec.FRAME_METHOD:
            return False
        index = struct.unpack_from(">I", frame, HEAD)[0]
        is_ignored = any(index == method.INDEX and name in frame for method, name in self.ignored)
        if is_ignored and index == spec.Basic.Publish.INDEX:
            self.hanging.append(channel)
        return is_ignored


@contextmanager
def deaf_proxy(port: int) -> Iterator[DeafProxy]:
    """Open a `DeafProxy` and close it."""
    proxy = DeafProxy(port)
    try:
        yield proxy
    finally:
        proxy.close()
