"""A connection that is made at its first use, and made again after each loss.

How it works
------------
`Reconnecting` follows the table `connection_states.RECONNECTING`.  A greenlet that wants a
connection calls `get`.  If there is none, the first such greenlet starts the connecting greenlet
(`_connect`), and all wait for its result, each within its own limit.

The connecting greenlet tries every host of the settings, then pauses (`Backoff`), and repeats this
as long as any greenlet waits.  Until a broker has accepted us once, it does not repeat: a refusal
is most likely a mistake in the settings, so all waiting greenlets get the error at once, unless
``wait_for_broker`` is set and no broker answers yet, or the broker accepts no connections for now.

The connecting greenlet logs apart (`HubLogger.log_apart`): a logging handler that sends messages
would wait for this greenlet.
"""

from __future__ import annotations

import logging
import math
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

import gevent
from gevent.event import AsyncResult

from postage.errors import (
    BrokerUnreachable,
    ConnectionClosed,
    ConnectionFailed,
    ConnectionLost,
    OperationTimeout,
    PostageError,
    TemporarilyRefused,
)
from postage.flight_recorder import EventKind, flight_recorder
from postage.green.amqp.backoff import Backoff
from postage.green.amqp.connection import Connection
from postage.green.amqp.connection_states import (
    RECONNECTING,
    ConnectionEvent,
    ConnectionState,
    next_state,
)
from postage.green.amqp.hub_logging import HubLogger
from postage.settings import Settings
from postage.statistics_types import ConnectionStatistics

__all__ = ["Reconnecting"]

logger = HubLogger(__name__)

LASTED = 1.0
"""Seconds after which a lost connection has lasted: the next tries start again with short pauses.

It is short because the pauses must not grow while connections break every few seconds.
"""
REPORT_INTERVAL = 30.0
"""Seconds between two reports that connecting fails; the first failure is reported at once."""

T = TypeVar("T")
Make = Callable[[tuple[str, int]], Connection]
"""Connects to a host and port; raises `ConnectionFailed`."""


class Reconnecting:
    """Gives each caller an open connection, within the caller's own limit.

    *make* connects to an address; logs name *role*.  *was_connected* tells whether a broker has
    ever accepted us, over this or another connection.
    """

    def __init__(
        self, settings: Settings, role: str, make: Make, was_connected: Callable[[], bool]
    ) -> None:
        self.settings, self.role = settings, role
        self.losses = 0
        """How many connections were lost."""
        self.was_open = False
        """Whether there has ever been a connection."""
        self._make, self._was_connected = make, was_connected
        self._state = ConnectionState.IDLE
        self._connection: Connection | None = None
        self._opened_at = 0.0
        self._connecting: gevent.Greenlet[..., None] | None = None
        self._answer: AsyncResult[Connection] = AsyncResult()
        self._waiting = 0
        self._error: ConnectionFailed | None = None
        self._turn = 0  # index of the address to try next, modulo their number
        self._backoff = Backoff()
        self._not_before = self._next_report = 0.0

    def __repr__(self) -> str:
        return f"<Reconnecting for {self.role}, {self._state.name.lower()}, {self.losses} losses>"

    @property
    def state(self) -> ConnectionState:
        """Idle, opening, open, waiting for the next try, lost or closed."""
        return self._state

    @property
    def age(self) -> float:
        """Seconds since the last connection was opened."""
        return time.monotonic() - self._opened_at

    @property
    def current(self) -> Connection | None:
        """The open connection, or None."""
        connection = self._connection
        return connection if connection is not None and connection.alive else None

    def statistics(self) -> ConnectionStatistics:
        """Return its statistics, and those of the open connection's channels; never switches."""
        own: dict[str, Any] = {
            "role": self.role,
            "vhost": self.settings.vhost,
            "state": self._state.name.lower(),
            "losses": self.losses,
            "waiting": self._waiting,
        }
        connection = self.current
        return ConnectionStatistics(**own, **(connection.statistics() if connection else {}))

    # --- greenlets that want a connection

    def get(self, limit: float | None = None) -> Connection:
        """Return the open connection; if there is none, wait for one, which switches greenlets.

        Waits *limit* seconds, by default the ``operation_timeout`` of the settings, or without a
        limit for the first connection with ``wait_for_broker``.  After that raises the
        `ConnectionFailed` of the last try, or `OperationTimeout` if no try has ended.  Raises
        `ConnectionClosed` after `close`.
        """
        connection = self._connection
        if connection is not None and connection.alive:
            return connection
        if limit is None:
            waits = self.settings.wait_for_broker and not self.was_open
            limit = math.inf if waits else self.settings.operation_timeout
        self._waiting += 1
        try:
            return self._wait(limit)
        finally:
            self._waiting -= 1

    def carry_out(self, operation: Callable[[Connection], T]) -> T:
        """Return what *operation* does on a connection, or on the next if it is lost meanwhile.

        Switches.  Takes at most ``operation_timeout`` plus one last try; raises what `get` and
        *operation* do.
        """
        deadline = time.monotonic() + self.settings.operation_timeout
        while True:
            try:
                return operation(self.get())
            except ConnectionLost:  # noqa: PERF203 - there is rarely a second turn
                if time.monotonic() >= deadline:
                    raise
                gevent.sleep(0)  # connecting makes the pauses

    def _wait(self, limit: float) -> Connection:
        deadline = time.monotonic() + limit
        while True:
            self._ensure_connecting()
            answer = self._answer
            left = deadline - time.monotonic()
            answer.wait(None if left == math.inf else max(0.0, left))
            if not answer.ready():
                if self._error is not None:
                    raise self._error.with_traceback(None)
                raise OperationTimeout("connecting", limit)
            if answer.exception is not None:
                # All waiting greenlets raise this error, so its traceback would grow with each.
                raise answer.exception.with_traceback(None)
            connection = answer.get(block=False)
            if connection is not None and connection.alive:
                return connection

    def _ensure_connecting(self) -> None:
        self._check_open()
        if sys.is_finalizing():  # a `__del__` runs while modules are taken apart
            raise ConnectionClosed("the program has ended, and can no longer connect")
        if self._connecting is None and self.current is None:
            self._answer = AsyncResult()
            self._connecting = gevent.spawn(self._connect)

    def _check_open(self) -> None:
        if self._state is ConnectionState.CLOSED:
            raise ConnectionClosed(
                "our side closed the connections; use the component again to reconnect"
            )

    @property
    def last_error(self) -> PostageError | None:
        """Why the last try to connect failed; None if there is a connection or was no try."""
        return None if self.current is not None else self._error

    # --- the greenlet that connects

    def _connect(self) -> None:
        try:
            connection = self._connect_until_open()
            if connection is not None:
                self._opened(connection)
        except Exception as exc:  # the waiting greenlets raise it
            self._step(ConnectionEvent.GIVE_UP)
            if self._was_connected():
                self._pause()  # greenlets that are used to a connection ask again at once
            else:
                self._reset_pauses()  # the greenlets that get the error decide when to try again
            self._answer.set_exception(exc)
        finally:
            self._connecting = None

    def _connect_until_open(self) -> Connection | None:
        """Return a connection, or None when no greenlet waits for one."""
        while self._waiting:
            self._advance(ConnectionEvent.PAUSE)
            gevent.sleep(max(0.0, self._not_before - time.monotonic()))
            self._advance(ConnectionEvent.CONNECT)
            connection = self._try_each()
            if connection is not None and connection.alive:
                return connection
            self._pause()
        self._step(ConnectionEvent.GIVE_UP)
        return None

    def _advance(self, event: ConnectionEvent) -> None:
        """Make a step of connecting; raise `ConnectionClosed` after `close_without_hub`."""
        self._check_open()
        self._step(event)

    def _pause(self) -> None:
        self._not_before = time.monotonic() + self._backoff.pause()

    def _reset_pauses(self) -> None:
        self._not_before = 0.0
        self._backoff.reset()

    def _try_each(self) -> Connection | None:
        """Try every host once, starting after the one that failed last."""
        addresses = self.settings.addresses
        level = logging.DEBUG if time.monotonic() < self._next_report else logging.WARNING
        for _ in addresses:
            connection = self._try(addresses[self._turn % len(addresses)], level)
            if connection is not None:
                return connection
        if self._error is not None and not self._may_recover(self._error):
            raise self._error
        if level == logging.WARNING:
            self._next_report = time.monotonic() + REPORT_INTERVAL
        return None

    def _try(self, address: tuple[str, int], level: int) -> Connection | None:
        try:
            return self._make(address)
        except ConnectionFailed as exc:
            self._turn += 1
            self._error = exc
            flight_recorder.note(EventKind.CONNECTION, f"none for {self.role} yet: {exc}")
            level = level if self._may_recover(exc) else logging.DEBUG  # `get` raises it
            logger.log_apart(level, "No connection for %s yet: %s", self.role, exc)
            return None

    def _may_recover(self, error: ConnectionFailed) -> bool:
        """Return whether to try again after *error* instead of raising it.

        A limit that allows one connection but not the second one of the pair does not pass soon.
        An exit function does not wait for a first connection, so that the program can end.
        """
        passes = isinstance(error, TemporarilyRefused)
        if self.settings.wait_for_broker and (passes or isinstance(error, BrokerUnreachable)):
            return self._was_connected() or threading.main_thread().is_alive()
        return self.was_open if passes else self._was_connected()

    def _opened(self, connection: Connection) -> None:
        if self._state is ConnectionState.CLOSED:
            connection.close_socket()
        self._advance(ConnectionEvent.OPENED)
        again, self.was_open, self._error = self.was_open, True, None
        self._connection, self._opened_at = connection, time.monotonic()
        self._next_report = 0.0
        connection.on_end.append(self._ended)
        self._answer.set(connection)
        if again:
            flight_recorder.note(EventKind.CONNECTION, f"{connection!r} is re-established")
        text = "%r is re-established." if again else "%r is open."
        logger.log_apart(logging.INFO if again else logging.DEBUG, text, connection)

    def supersede(self, old: Connection, new: Connection) -> bool:
        """Give out *new* instead of *old*, which stays open; return whether that was possible."""
        if self.current is not old or not new.alive:
            return False
        old.on_end.remove(self._ended)
        new.on_end.append(self._ended)
        self._connection, self._opened_at = new, time.monotonic()
        return True

    def _ended(self, error: PostageError) -> None:
        """Note the end of the connection; runs in the hub."""
        self._step(ConnectionEvent.LOST)
        if isinstance(error, ConnectionClosed):
            return
        self.losses += 1
        self._turn += 1
        if time.monotonic() - self._opened_at > LASTED:
            self._reset_pauses()
        else:
            self._pause()
        flight_recorder.note(EventKind.CONNECTION, f"that for {self.role} is lost: {error}")
        logger.warning("The connection for %s is lost; reconnecting: %s", self.role, error)

    def _step(self, event: ConnectionEvent) -> None:
        self._state = next_state(RECONNECTING, self._state, event)

    # --- the end

    def close(self, limit: float = 5.0) -> None:
        """Close for good: flush and close an open connection, within *limit* seconds; switches.

        Greenlets that wait for a connection get `ConnectionClosed`.  Closing twice is fine.
        """
        # kill() may let the connecting greenlet run once more, so CLOSED comes after it.
        while self._connecting is not None and not self._connecting.dead:
            self._connecting.kill()
            self._answer.set_exception(ConnectionClosed("our side closed it while it connected"))
        self._step(ConnectionEvent.CLOSE)
        if self.current is not None:
            self.current.close(limit)

    def close_without_hub(self, limit: float) -> None:
        """Close for good while the hub does not run, within *limit* seconds; never switches.

        If the hub runs again, as in an exit function that is called later, greenlets that wait for
        a connection get `ConnectionClosed`.
        """
        if self._connecting is not None:
            self._connecting.kill(block=False)
            self._answer.set_exception(ConnectionClosed("our side closed it while it connected"))
        self._step(ConnectionEvent.CLOSE)
        if self.current is not None:
            self.current.close_without_hub(limit)
