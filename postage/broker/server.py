"""The embedded broker over TCP: gevent sockets around a `Node`."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

import gevent
import gevent.event
import gevent.hub
import gevent.server
import gevent.socket

from postage.broker import statistics
from postage.broker.faults import Faults
from postage.broker.limits import Limits
from postage.broker.node import Node
from postage.broker.session import Session, Stage
from postage.broker.timers import Timer, Timers
from postage.errors import SettingsError

__all__ = ["Broker"]

logger = logging.getLogger(__name__)

READ_SIZE = 1 << 18
TICK = 0.05
"""Seconds between two looks at a connection whose reading is held back."""


class _Due:
    """A call that is due later in the hub."""

    def __init__(self, seconds: float, call: Callable[[], None]) -> None:
        self._timer = gevent.hub.get_hub().loop.timer(seconds, ref=False)
        self._timer.start(self._fire)
        self._call = call

    def _fire(self) -> None:
        self._timer.close()
        self._call()

    def cancel(self) -> None:
        self._timer.stop()
        self._timer.close()


class _HubTimers:
    """The clock of the hub."""

    def now(self) -> float:
        return time.monotonic()

    def wall(self) -> float:
        return time.time()

    def later(self, seconds: float, call: Callable[[], None]) -> Timer:
        return _Due(seconds, call)


class Broker:
    """An AMQP 0-9-1 broker in this process; nothing in it survives its end.

    ``with Broker() as broker:`` listens on a free port of this machine; `url` is where.  Its
    greenlets run in the hub of the thread that starts it.  A `ManualTimers` as *timers* lets a test
    turn the clock of TTLs, expiry and heartbeats.
    """

    def __init__(  # noqa: PLR0913 - what can be set about a broker
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        users: Mapping[str, str] | None = None,
        vhosts: tuple[str, ...] = ("/",),
        limits: Limits | None = None,
        timers: Timers | None = None,
    ) -> None:
        if not _is_loopback(host) and "guest" in (users or {"guest": ""}):
            raise SettingsError(f"to listen on {host}, give users other than guest")
        self.host = host
        self.node = Node(timers or _HubTimers(), limits, users, vhosts)
        self.faults = Faults(self.node)
        """Trouble to order, for tests of clients."""
        self._user, self._password = next(iter((users or {"guest": "guest"}).items()))
        self._address = host, port
        self._server = gevent.server.StreamServer(self._address, self._serve)
        self._links: set[_Link] = set()

    def __enter__(self) -> Broker:  # noqa: PYI034 - Self needs Python 3.11
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def port(self) -> int:
        """The port it listens on, once started."""
        return int(self._server.server_port or 0)

    @property
    def url(self) -> str:
        """Where clients find it, credentials included."""
        user, password = (quote(each, safe="") for each in (self._user, self._password))
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"amqp://{user}:{password}@{host}:{self.port}"

    def start(self) -> None:
        """Listen; returns when clients can connect.  Raises `SettingsError` where it cannot."""
        try:
            self._server.start()
        except OSError as exc:
            where = "{}:{}".format(*self._address)
            # gevent adds the address to strerror; the numbers of look-ups are negative.
            number = exc.errno or 0
            reason = os.strerror(number) if number > 0 else exc.strerror
            raise SettingsError(f"cannot listen on {where}: {reason}") from exc

    def statistics(self) -> statistics.Statistics:
        """Return a picture of what goes on inside."""
        return statistics.take(self.node)

    def stop(self) -> None:
        """Close all connections and stop listening; nothing is kept."""
        for session in list(self.node.sessions):
            session.shut_down(320, "the broker shuts down")
        self._server.stop(timeout=0)
        for link in list(self._links):
            link.finish()
        gevent.joinall([link.greenlet for link in self._links], timeout=1)

    def abandon(self) -> None:
        """Leave all sockets to the parent process, as a forked child must."""
        for sock in [self._server.socket, *(link.sock for link in self._links)]:
            os.close(sock.detach())

    def _serve(self, sock: Any, address: Any) -> None:
        link = _Link(self.node, sock, loopback=_is_loopback(address[0]))
        self._links.add(link)
        try:
            link.run()
        finally:
            self._links.discard(link)


class _Link:
    """A client's socket and its session: reads in its own greenlet, writes from the hub."""

    def __init__(self, node: Node, sock: Any, *, loopback: bool) -> None:
        sock.setsockopt(gevent.socket.IPPROTO_TCP, gevent.socket.TCP_NODELAY, 1)
        sock.setblocking(False)  # noqa: FBT003 - the socket's own signature
        self.sock, self._node = sock, node
        self.greenlet = gevent.getcurrent()
        loop = gevent.hub.get_hub().loop
        self._loop = loop
        self._writer = loop.io(sock.fileno(), 2)
        self._reader = loop.io(sock.fileno(), 1)
        self._sending = memoryview(b"")
        self._due = False
        self._over = gevent.event.Event()
        self.session: Session = node.open_session(self._on_output, loopback=loopback)

    def run(self) -> None:
        """Serve until the connection ends."""
        self._reader.start(self._on_readable)
        try:
            self._over.wait()
        finally:
            self._end()

    def _on_readable(self) -> None:
        if self.session.blocked:
            # Held back, not refused: the client's own socket fills, and its publishers wait.
            self._reader.stop()
            _Due(TICK, self._resume)
            return
        try:
            data = self.sock.recv(READ_SIZE)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            self.session.feed(data)
        else:
            self.session.drop()
            self._over.set()

    def _resume(self) -> None:
        if not self._over.is_set():
            self._reader.start(self._on_readable)

    def _on_output(self) -> None:
        if not self._due:
            self._due = True
            self._loop.run_callback(self.flush)

    def flush(self) -> None:
        """Send what there is; go on when the socket takes more."""
        if self._over.is_set():
            return
        try:
            self._send()
        except BlockingIOError:
            self._writer.start(self.flush)
            self._watch_backlog()
            return
        except OSError:
            self.session.drop()
        self._writer.stop()
        self._due = False
        self._watch_backlog()
        if self.session.stage is Stage.CLOSED:
            self._over.set()

    def _send(self) -> None:
        while True:
            if not self._sending:
                self._sending = memoryview(self.session.take_output())
            if not self._sending:
                return
            sent = self.sock.send(self._sending)
            self._sending = self._sending[sent:]

    def finish(self) -> None:
        """Send what the socket takes now, and end."""
        self.flush()
        self.session.drop()
        self._over.set()

    def _watch_backlog(self) -> None:
        """Hold deliveries back while the client leaves much unread."""
        behind = len(self._sending) > self._node.limits.unsent
        if behind != self.session.paused:
            self.session.set_paused(paused=behind)

    def _end(self) -> None:
        self._over.set()
        self.session.drop()
        for watcher in (self._reader, self._writer):
            watcher.stop()
            watcher.close()
        self.sock.close()


def _is_loopback(host: str) -> bool:
    return host in ("localhost", "::1") or host.startswith("127.")
