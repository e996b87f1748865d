"""A socket that never blocks, with the same interface whether it speaks TLS or not."""

from __future__ import annotations

import contextlib
import fcntl
import ssl
import struct
import termios
from collections.abc import Callable
from typing import Any

import gevent.monkey
import gevent.socket
import gevent.ssl

__all__ = ["READ_SIZE", "ByteStream", "stream_of"]

READ_SIZE = 65536
"""Bytes that are read at a time."""
WRITE_SIZE = 65536
"""Bytes passed to TLS at a time, because OpenSSL reports a write only when all of it is sent."""

# The real one, even where threading is patched: native threads share it.
_allocate_lock = gevent.monkey.get_original("_thread", "allocate_lock")


class ByteStream:
    """A connected socket; reading and writing raise `BlockingIOError` instead of waiting."""

    def __init__(self, sock: gevent.socket.socket) -> None:
        self._sock = sock
        sock.setblocking(False)  # noqa: FBT003 - the socket's own signature
        self.lock: Any = _allocate_lock()
        """Held while writing or closing, because two native threads may write."""
        self.write: Callable[[memoryview], int] = sock.send
        """Writes some data, at least one byte; returns the number of bytes written.

        After `BlockingIOError`, the next write must begin with the same bytes.
        """

    def fileno(self) -> int:
        """Return the file descriptor, for watchers."""
        return self._sock.fileno()

    def read(self) -> bytes:
        """Return the bytes that have arrived, about `READ_SIZE` at most; empty at the end."""
        return self._sock.recv(READ_SIZE)

    def unacknowledged(self) -> int:
        """Return the bytes that the kernel still holds for the peer; 0 where it does not tell."""
        with contextlib.suppress(OSError):
            (size,) = struct.unpack("i", fcntl.ioctl(self.fileno(), termios.TIOCOUTQ, bytes(4)))
            return int(size)
        return 0

    def cut(self) -> None:
        """Break the connection without a close of TLS or AMQP, as a failing network does."""
        with contextlib.suppress(OSError):  # it is broken already
            gevent.socket.socket.shutdown(self._sock, gevent.socket.SHUT_RDWR)

    def close(self, *, silently: bool) -> None:  # noqa: ARG002 - see SecureStream
        """Close the socket; with *silently*, without telling the peer, as a forked child must."""
        self._sock.close()


class SecureStream(ByteStream):
    """A `ByteStream` over TLS.  OpenSSL allows one thread at a time: reads take the lock, too."""

    _sock: gevent.ssl.SSLSocket

    def __init__(self, sock: gevent.ssl.SSLSocket) -> None:
        super().__init__(sock)
        self.write = self._write

    def read(self) -> bytes:
        """Return what has arrived, decrypted.

        Leaves nothing in OpenSSL's buffer: no watcher of the socket would report it.
        """
        parts: list[bytes] = []
        size = 0
        with self.lock:
            while size < READ_SIZE or self._sock.pending():
                try:
                    part = self._sock.recv(READ_SIZE)
                except OSError as exc:
                    if parts:  # return these; the next read raises the error again
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
        if not sent:  # gevent returns 0 when TLS must read or write before it can continue
            raise BlockingIOError
        return sent

    def close(self, *, silently: bool) -> None:
        """Close the socket; unless *silently*, end the TLS session with the peer first."""
        if not silently:
            # Without waiting for the answer: the AMQP connection is closed already.
            with contextlib.suppress(OSError, ValueError):
                self._sock.unwrap()
        self._sock.close()


def stream_of(sock: gevent.socket.socket) -> ByteStream:
    """Return the stream of a socket that is connected and, with TLS, has done the handshake."""
    return SecureStream(sock) if isinstance(sock, gevent.ssl.SSLSocket) else ByteStream(sock)
