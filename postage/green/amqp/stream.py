"""The bytes of a connection: a socket that never blocks, with or without TLS, alike to its user."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Callable
from typing import Any

import gevent.monkey
import gevent.socket
import gevent.ssl

__all__ = ["READ_SIZE", "Stream", "stream_of"]

READ_SIZE = 65536
WRITE_SIZE = 65536
"""What TLS is given at a time: OpenSSL says nothing of a write before all of it is sent."""

# The real one, also where threading is patched: it is between native threads.
_allocate_lock = gevent.monkey.get_original("_thread", "allocate_lock")


class Stream:
    """A connected socket; reading and writing raise `BlockingIOError` instead of waiting."""

    def __init__(self, sock: gevent.socket.socket) -> None:
        self._sock = sock
        sock.setblocking(False)  # noqa: FBT003 - the socket's own signature
        self.lock: Any = _allocate_lock()
        """Whoever writes or closes holds it: two native threads may write."""
        self.write: Callable[[memoryview], int] = sock.send
        """Writes the beginning of some data, at least one byte; returns how much.  After
        `BlockingIOError`, the next write must begin with the same bytes."""

    def fileno(self) -> int:
        """Return the file descriptor, for watchers."""
        return self._sock.fileno()

    def read(self) -> bytes:
        """Return what has come, about `READ_SIZE` at most; empty at the end of the stream."""
        return self._sock.recv(READ_SIZE)

    def cut(self) -> None:
        """Break the connection without a word of TLS or AMQP, as a failing network does."""
        gevent.socket.socket.shutdown(self._sock, gevent.socket.SHUT_RDWR)

    def close(self, *, silently: bool) -> None:  # noqa: ARG002 - see SecureStream
        """Close the socket; *silently*: without a word to the peer, as a forked child must."""
        self._sock.close()


class SecureStream(Stream):
    """The same over TLS.  OpenSSL lets one thread at a time touch a connection: reads lock, too."""

    _sock: gevent.ssl.SSLSocket

    def __init__(self, sock: gevent.ssl.SSLSocket) -> None:
        super().__init__(sock)
        self.write = self._write

    def read(self) -> bytes:
        """Return what has come, decrypted; nothing is left behind that no watcher would see."""
        parts: list[bytes] = []
        size = 0
        with self.lock:
            while size < READ_SIZE or self._sock.pending():
                try:
                    part = self._sock.recv(READ_SIZE)
                except OSError as exc:
                    if parts:  # these first; the next read finds the error again
                        break
                    if isinstance(exc, (ssl.SSLWantReadError, ssl.SSLWantWriteError)):
                        raise BlockingIOError from None
                    raise
                if not part:
                    break
                parts.append(part)
                size += len(part)
        return b"".join(parts)

    def _write(self, data: memoryview) -> int:
        sent = self._sock.send(data[:WRITE_SIZE])
        if not sent:  # gevent's way to say that TLS wants to write, or to read, before it goes on
            raise BlockingIOError
        return sent

    def close(self, *, silently: bool) -> None:
        """Close the socket, after saying so to the peer unless *silently*."""
        if not silently:
            # The peer's own word is not waited for: AMQP has said already that all is over.
            with contextlib.suppress(OSError, ValueError):
                self._sock.unwrap()
        self._sock.close()


def stream_of(sock: gevent.socket.socket) -> Stream:
    """Return the stream of a socket that is connected, its TLS handshake done if it has one."""
    return SecureStream(sock) if isinstance(sock, gevent.ssl.SSLSocket) else Stream(sock)
