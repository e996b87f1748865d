"""A connection for as long as the program runs: made at its first use, made anew when lost."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import gevent
from gevent.event import AsyncResult

from postage.errors import (
    BrokerUnreachable,
    ConnectionClosed,
    ConnectionFailed,
    OperationTimeout,
    PostageError,
)
from postage.green.amqp.backoff import Backoff
from postage.green.amqp.connection import Connection
from postage.green.amqp.connection_states import (
    RECONNECTING,
    ConnectionEvent,
    ConnectionState,
    next_state,
)
from postage.settings import Settings

if TYPE_CHECKING:
    from postage.statistics_types import ConnectionStatistics

__all__ = ["Reconnecting"]

logger = logging.getLogger(__name__)

LASTED = 1.0
"""Seconds after which a connection has lasted: a loss is then a new one, with short pauses.

Not much longer: where trouble comes every few seconds, the pauses would only ever grow."""

Make = Callable[[tuple[str, int]], Connection]
"""Connects to a host and port; raises `ConnectionFailed`."""


class Reconnecting:
    """Gives its users an open connection, each of them within a limit of their own.

    One greenlet dials for all who wait: every host of the settings in turn, then a pause
    (`Backoff`), and so on while anybody waits.  The very first connection is another matter: what
    refuses it is most likely a mistake in the settings, so all who wait get the error at once,
    unless *was_connected* says that a broker was there before, or ``wait_for_broker`` is set and
    none answers yet.
    """

    def __init__(
        self, settings: Settings, role: str, make: Make, was_connected: Callable[[], bool]
    ) -> None:
        self.settings, self.role = settings, role
        self.losses = 0
        """How many connections it has lost."""
        self.was_open = False
        """Whether there was ever a connection."""
        self._make, self._was_connected = make, was_connected
        self._state = ConnectionState.IDLE
        self._connection: Connection | None = None
        self._opened_at = 0.0
        self._dialer: gevent.Greenlet[..., None] | None = None
        self._answer: AsyncResult[Connection] = AsyncResult()
        self._waiting = 0
        self._error: ConnectionFailed | None = None
        self._turn = 0
        self._backoff = Backoff()
        self._not_before = 0.0

    def __repr__(self) -> str:
        return f"<Reconnecting for {self.role}, {self._state.name.lower()}, {self.losses} losses>"

    @property
    def state(self) -> ConnectionState:
        """Where it is: idle, opening, open, waiting for the next try, lost or closed."""
        return self._state

    @property
    def current(self) -> Connection | None:
        """The open connection, or None."""
        connection = self._connection
        return connection if connection is not None and connection.alive else None

    def statistics(self) -> ConnectionStatistics:
        """Return a picture of it, and of the open connection's channels; never switches."""
        from postage.statistics_types import ConnectionStatistics  # noqa: PLC0415 - for who asks

        own: dict[str, Any] = {
            "role": self.role,
            "vhost": self.settings.vhost,
            "state": self._state.name.lower(),
            "losses": self.losses,
            "waiting": self._waiting,
        }
        connection = self.current
        return ConnectionStatistics(**own, **(connection.statistics() if connection else {}))

    # --- for who wants a connection

    def get(self, limit: float | None = None) -> Connection:
        """Return the open connection; where there is none, wait for one: switches greenlets then.

        Waits *limit* seconds, by default the ``operation_timeout`` of the settings (a first
        connection with ``wait_for_broker``: for ever).  Raises `ConnectionFailed`, of the last try,
        when none came about; `ConnectionClosed` after `close`.
        """
        connection = self._connection
        if connection is not None and connection.alive:
            return connection
        self._waiting += 1
        try:
            return self._wait(self._default_limit() if limit is None else limit)
        finally:
            self._waiting -= 1

    def _default_limit(self) -> float:
        if self.settings.wait_for_broker and not self._was_connected():
            return math.inf
        return self.settings.operation_timeout

    def _wait(self, limit: float) -> Connection:
        deadline = time.monotonic() + limit
        while True:
            self._have_it_dialled()
            answer = self._answer
            left = deadline - time.monotonic()
            answer.wait(None if left == math.inf else max(0.0, left))
            if not answer.ready():
                raise self._late(limit)
            if answer.exception is not None:
                raise answer.exception.with_traceback(None)  # those of all waiters would add up
            connection = answer.get(block=False)
            if connection is not None and connection.alive:
                return connection

    def _have_it_dialled(self) -> None:
        if self._state is ConnectionState.CLOSED:
            raise ConnectionClosed("our side closed the connections; use the component anew")
        if self._dialer is None and self.current is None:
            self._answer = AsyncResult()
            self._dialer = gevent.spawn(self._dial)

    @property
    def trouble(self) -> PostageError | None:
        """Why there is no connection, when a try to make one has failed."""
        return None if self.current is not None else self._error

    def _late(self, limit: float) -> PostageError:
        if self._error is not None:
            return self._error.with_traceback(None)
        return OperationTimeout("connecting", limit)

    # --- the greenlet that dials

    def _dial(self) -> None:
        try:
            connection = self._dial_until_open()
        except Exception as exc:  # for those who wait, whatever it is
            self._step(ConnectionEvent.GIVE_UP)
            self._hurry()  # whoever gets the error decides when to try again
            self._answer.set_exception(exc)
        else:
            if connection is not None:
                self._opened(connection)
        finally:
            self._dialer = None

    def _dial_until_open(self) -> Connection | None:
        """Return a connection; None when nobody waits any more."""
        level = logging.WARNING
        while self._waiting:
            self._step(ConnectionEvent.PAUSE)
            gevent.sleep(max(0.0, self._not_before - time.monotonic()))
            self._step(ConnectionEvent.CONNECT)
            connection = self._try_each(level)
            if connection is not None and connection.alive:
                return connection
            self._pause()
            level = logging.INFO  # one warning for each outage
        self._step(ConnectionEvent.GIVE_UP)
        return None

    def _pause(self) -> None:
        self._not_before = time.monotonic() + self._backoff.pause()

    def _hurry(self) -> None:
        self._not_before = 0.0
        self._backoff.reset()

    def _try_each(self, level: int) -> Connection | None:
        """Try every host once, beginning with the one after that which failed last."""
        addresses = self.settings.addresses
        for _ in addresses:
            connection = self._try(addresses[self._turn % len(addresses)], level)
            if connection is not None:
                return connection
        if self._error is not None and not self._is_hopeful(self._error):
            raise self._error
        return None

    def _try(self, address: tuple[str, int], level: int) -> Connection | None:
        try:
            return self._make(address)
        except ConnectionFailed as exc:
            self._turn += 1
            self._error = exc
            level = level if self._is_hopeful(exc) else logging.DEBUG  # else it is raised
            logger.log(level, "No connection for %s: %s", self.role, exc)
            return None

    def _is_hopeful(self, error: ConnectionFailed) -> bool:
        """Tell whether what failed now may do later."""
        awaited = self.settings.wait_for_broker and isinstance(error, BrokerUnreachable)
        return awaited or self._was_connected()

    def _opened(self, connection: Connection) -> None:
        if self.was_open:
            logger.info("%r is there again.", connection)
        self.was_open, self._error = True, None
        self._connection, self._opened_at = connection, time.monotonic()
        connection.on_end.append(self._ended)
        self._step(ConnectionEvent.OPENED)
        self._answer.set(connection)

    def _ended(self, error: PostageError) -> None:
        """Take note of the end of the connection; runs in the hub."""
        self._step(ConnectionEvent.LOST)
        if isinstance(error, ConnectionClosed):
            return
        self.losses += 1
        self._turn += 1
        if time.monotonic() - self._opened_at > LASTED:
            self._hurry()
        else:
            self._pause()
        logger.warning("The connection for %s is lost and will be made anew: %s", self.role, error)

    def _step(self, event: ConnectionEvent) -> None:
        self._state = next_state(RECONNECTING, self._state, event)

    # --- the end

    def close(self, limit: float = 5.0) -> None:
        """End for good, within *limit* seconds: flush and close what is open; switches.

        Who waits for a connection gets `ConnectionClosed`.  Closing twice is fine.
        """
        # Who dials may go on once more before it dies, and in a state that it knows.
        while self._dialer is not None and not self._dialer.dead:
            self._dialer.kill()
            self._answer.set_exception(ConnectionClosed("our side closed it while it connected"))
        self._step(ConnectionEvent.CLOSE)
        if self.current is not None:
            self.current.close(limit)
