"""The embedded broker over TCP: gevent sockets around a `Node`."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

import gevent
import gevent.hub
import gevent.server

from postage.broker.client_socket import ClientSocket
from postage.broker.core.clock import Timer, Timers
from postage.broker.core.likeness import DEFAULT, likeness_of
from postage.broker.core.limits import Limits
from postage.broker.faults import Faults
from postage.broker.session.node import Node
from postage.broker.snapshot import Statistics, snapshot
from postage.errors import SettingsError
from postage.log_records import counted, logger_of, place_of
from postage.values import Rule, check_arguments, flag, host_name, number, rule
from postage.values import seconds as duration

__all__ = ["Broker", "HubTimers"]

logger = logger_of(__name__)


def _check_users(name: str, users: object) -> None:
    """Check the users and passwords; an error must not quote them."""
    table = users if isinstance(users, Mapping) else {} if users is None else {None: None}
    if not all(isinstance(text, str) for pair in table.items() for text in pair):
        raise SettingsError(f"{name} must be a dictionary of users and passwords, or None")


def _are_names(value: object) -> bool:
    return isinstance(value, (tuple, list)) and all(isinstance(name, str) for name in value)


_RULES: Mapping[str, Rule] = {
    "host": host_name,
    "port": number(0, 65535),
    "users": _check_users,
    "vhosts": rule("a tuple of names", _are_names),
    "limits": rule("Limits", lambda value: isinstance(value, Limits), none=True),
    "transient_queues": flag,
    "seconds": duration(zero=True, most=1e9),
}

BACKLOG = 256
"""Connections that the system queues before they are accepted."""

MOST_ACCEPTED = 8
"""Connections that are accepted before others, which they push out, are closed."""

LEAST_FILES = 32
"""File descriptors that the broker uses even if there are fewer than it should leave."""
SPARE_FILES = 64
"""File descriptors of the process that the broker leaves for other purposes, at least."""


class Broker:
    """An AMQP 0-9-1 broker in this process; nothing in it survives its end.

    ``with Broker() as broker:`` listens on a free port of this machine, at `url`.  Its greenlets
    run in the hub of the thread that starts it.  With a `ManualTimers` as *timers*, a test can turn
    the clock of TTLs, expiry and heartbeats.

    *like* names the version of RabbitMQ that it behaves like: ``"4.3"`` or ``"3.10"``.
    *transient_queues* permits queues that are neither durable nor exclusive, as RabbitMQ's setting
    ``deprecated_features.permit.transient_nonexcl_queues`` does; RabbitMQ 3.10 always permits them.
    With *create_missing*, passive declarations create missing queues and exchanges, as ``postage
    check`` needs.
    """

    def __init__(  # noqa: PLR0913 - the settings of a broker
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        users: Mapping[str, str] | None = None,
        vhosts: tuple[str, ...] = ("/",),
        limits: Limits | None = None,
        timers: Timers | None = None,
        like: str = DEFAULT,
        transient_queues: bool = False,
        create_missing: bool = False,
    ) -> None:
        check_arguments(_RULES, host=host, port=port, users=users, vhosts=vhosts, limits=limits)
        check_arguments(_RULES, transient_queues=transient_queues)
        if not _is_loopback(host) and "guest" in (users or {"guest": ""}):
            raise SettingsError(f"to listen on {host!r}, give users other than guest")
        self.host = host
        self.node = Node(
            timers or HubTimers(),
            limits,
            users,
            vhosts,
            likeness=likeness_of(like, transient_queues=transient_queues),
            create_missing=create_missing,
        )
        self.faults = Faults(self.node)
        """Failures on demand, for tests of clients."""
        self._user, self._password = next(iter((users or {"guest": "guest"}).items()))
        self._address = host, port
        self._server: gevent.server.StreamServer | None = None
        self._clients: set[ClientSocket] = set()
        self._keep_within(_most_files())
        self._is_stopped = False

    def __enter__(self) -> Broker:  # noqa: PYI034 - Self needs Python 3.11
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def port(self) -> int:
        """The port that the broker listens on; 0 before `start`."""
        return int(self._server.address[1]) if self._server is not None else 0

    @property
    def url(self) -> str:
        """The AMQP URL of the broker with credentials."""
        user, password = (quote(each, safe="") for each in (self._user, self._password))
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"amqp://{user}:{password}@{host}:{self.port}"

    def _keep_within(self, files: int) -> None:
        """Accept no more connections than *files*, the file descriptors of a process, allow.

        The broker could accept nobody, not even to refuse a connection, if it had used up all.
        """
        room = max(LEAST_FILES, files - SPARE_FILES)
        node = self.node
        node.strangers.most = min(node.strangers.most, room // 4)
        node.most_open = min(node.most_open, room - node.strangers.most)

    def start(self) -> None:
        """Listen, and return when clients can connect; raise `SettingsError` for a bad address."""
        self._is_stopped = False
        try:
            listener = _listening(*self._address)
        except OSError as exc:
            where, hint = "{}:{}".format(*self._address), ""
            if exc.errno == errno.EADDRINUSE:
                hint = "; use the broker that runs there, or another port (0: any free one)"
            raise SettingsError(f"cannot listen on {where}: {exc.strerror}{hint}") from exc
        self._server = gevent.server.StreamServer(listener, self._serve)
        self._server.max_accept = MOST_ACCEPTED
        self._server.start()

    def statistics(self) -> Statistics:
        """Return a snapshot of connections, queues and counters."""
        return snapshot(self.node)

    def advance(self, seconds: float, *, vhost: str = "/") -> None:
        """Turn the clock of a virtual host: what would be due in *seconds* is done at once.

        That is, in the order of their times: messages expire (and become dead letters), unused
        queues are deleted, quorum queues try again, and deliveries that took too long end their
        channels.  Heartbeats and other virtual hosts go on by the real clock.  Never switches.
        Raises `SettingsError` for bad *seconds*, and if there is no such virtual host.
        """
        check_arguments(_RULES, seconds=seconds)
        if vhost not in self.node.vhosts:
            raise SettingsError(f"the broker has no virtual host {vhost!r}")
        self.node.vhosts[vhost].timers.advance(float(seconds))

    def stop(self) -> None:
        """Close all connections and stop listening; messages are lost.  Waits up to a second."""
        self._is_stopped = True
        for connection in list(self.node.connections):
            connection.stop(320, "the broker shuts down")
        if self._server is not None:
            self._server.stop(timeout=0)
        for client in list(self._clients):
            client.close()
        gevent.joinall([client.greenlet for client in self._clients], timeout=1)

    def close_after_fork(self) -> None:
        """Close this process's copies of all sockets, which belong to the parent process."""
        listeners = [self._server.socket] if self._server is not None else []
        for sock in [*listeners, *(client.sock for client in self._clients)]:
            os.close(sock.detach())

    def _serve(self, sock: Any, address: Any) -> None:
        if self._is_stopped:
            sock.close()
            return
        try:
            host = address[0]
            client = ClientSocket(self.node, sock, host, loopback=_is_loopback(host))
        except OSError as exc:  # the client has closed the connection already
            logger.debug("A connection ended before it was served: %s.", exc)
            sock.close()
            return
        self._clients.add(client)
        try:
            client.run()
        finally:
            self._clients.discard(client)


def _listening(host: str, port: int) -> gevent.socket.socket:
    """Return a listening socket; gevent's own function leaves the socket open if it fails."""
    family = gevent.socket.AF_INET6 if ":" in host else gevent.socket.AF_INET
    sock = gevent.socket.socket(family)
    try:
        sock.setsockopt(gevent.socket.SOL_SOCKET, gevent.socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
        sock.listen(BACKLOG)
        sock.setblocking(False)  # noqa: FBT003 - the socket's own signature
    except BaseException:
        sock.close()
        raise
    return sock


def _most_files() -> int:
    """Return how many file descriptors this process may have."""
    try:
        import resource  # noqa: PLC0415 - Windows does not have it
    except ImportError:
        return 1 << 20
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return 1 << 20 if soft == resource.RLIM_INFINITY else soft


def _is_loopback(host: str) -> bool:
    return host in ("localhost", "::1") or host.startswith("127.")


class _HubTimer:
    """A call that is due later in the hub."""

    def __init__(self, seconds: float, call: Callable[[], None]) -> None:
        self._timer = gevent.hub.get_hub().loop.timer(seconds, ref=False)
        self._timer.start(self._fire)
        self._callback: Callable[[], None] | None = call

    def _fire(self) -> None:
        call = self._callback
        self.cancel()
        if call is not None:
            try:
                call()
            except Exception as exc:  # a bug in the broker must not reach the hub
                sort = counted(*place_of(exc))
                logger.exception("A timer met a bug in the broker.", extra=sort)

    def cancel(self) -> None:
        """Do not make the call; may be called twice, and after the call."""
        if self._callback is not None:
            self._callback = None
            self._timer.stop()
            self._timer.close()


class HubTimers:
    """Timers in the hub of the thread that calls `later`."""

    now = staticmethod(time.monotonic)
    """Returns seconds that never go back; the broker asks with each frame."""

    def wall(self) -> float:
        """Return the seconds since the epoch."""
        return time.time()

    def later(self, seconds: float, call: Callable[[], None]) -> Timer:
        """Make *call* in the hub in *seconds*."""
        return _HubTimer(seconds, call)
