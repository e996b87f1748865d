"""One AMQP connection of a hub: connecting, its channels, its end."""

from __future__ import annotations

import itertools
import logging
import operator
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import gevent
import pika
from gevent.event import Event

from postage.errors import ChannelRefused, OperationTimeout, PostageError, SettingsError
from postage.exchange import Exchange
from postage.green.amqp import error_translation
from postage.green.amqp.channel import Channel, OnReturn
from postage.green.amqp.codec import Codec, Path, PlainPath
from postage.green.amqp.connecting import connect_socket, parameters
from postage.green.amqp.connection_states import (
    SINGLE,
    ConnectionEvent,
    ConnectionState,
    next_state,
)
from postage.green.amqp.transport import Transport
from postage.green.amqp.waiting import Answer, SharedResource
from postage.settings import Settings

__all__ = ["Connection"]

logger = logging.getLogger(__name__)

OWN_CHANNELS = 50
"""Consumers that get a channel each; later ones share.  A channel costs 6 KB here and 50 KB in
RabbitMQ, which allows 2,047 of them on a connection; eighty keep all of its cores busy."""
SHARED_CHANNELS = 30
"""How many channels those later ones share."""
RENEWAL = 1.0
"""Seconds that a channel on which the broker refuses publishes is used at least."""


_number = operator.attrgetter("number")


class Connection:
    """An open connection.  For the greenlets of the hub it was made in; *role* is for people.

    Making one connects, within ``connect_timeout``: switches greenlets, raises `ConnectionFailed`.
    Its end, whoever made it, fails every waiter at once.
    """

    def __init__(
        self,
        settings: Settings,
        role: str,
        on_return: OnReturn,
        address: tuple[str, int] | None = None,
    ) -> None:
        self.settings, self.role = settings, role
        self.host, self.port = address or settings.addresses[0]
        self.on_end: list[Callable[[PostageError], None]] = []
        """Called in the hub when the connection ends, whoever ended it."""
        self.blocked: str | None = None
        """Why the broker takes no publishes now (an alarm), or None (RabbitMQ, alarms)."""
        self._flowing = Event()
        self._flowing.set()
        self._on_return = on_return
        self._state = ConnectionState.IDLE
        self.alive = False
        """False until it is open, and once it was lost or closed."""
        self._over = Event()
        self.declared: set[type[Exchange]] = set()
        """The exchanges that need no further `declare` on this connection."""
        self._declaring: dict[type[Exchange], SharedResource[Connection]] = {}
        self._channels: set[Channel] = set()
        self._idle: list[Channel] = []
        self._own = 0  # consumers that have a channel each
        self._shared: list[SharedResource[Channel]] = []
        self._turns = itertools.count()
        self.plain: SharedResource[Channel] = SharedResource(self._open_plain)
        """The channel for messages that are not confirmed."""
        self.calling: SharedResource[Channel] = SharedResource(self._open_calling)
        """The channel for the requests and replies of RPC: a missing exchange of others' messages
        must not end calls."""
        self.confirming: SharedResource[Channel] = SharedResource(self._open_confirming)
        """The channel for publishes that are."""
        self.transport: Transport
        self.path: Path
        self.transport, self.path = self._connect()

    def __repr__(self) -> str:
        return (
            f"<Connection to {self.host}:{self.port}, {self.settings.vhost!r}, "
            f"for {self.role}, {self._state.name.lower()}>"
        )

    def figures(self) -> dict[str, Any]:
        """Return what `ConnectionStatistics` says of an open connection; never switches."""
        channels = sorted((each.statistics() for each in self._channels), key=_number)
        return {
            "host": self.host,
            "port": self.port,
            "blocked": self.blocked,
            "bytes_unsent": self.transport.unsent,
            "bytes_sent": self.transport.written,
            "bytes_received": self.transport.bytes_received,
            "channels": tuple(channels),
        }

    # --- connecting

    def _connect(self) -> tuple[Transport, Path]:
        # A library's logger without any handler would print to stderr what we raise as an error.
        logging.getLogger("pika").addHandler(logging.NullHandler())
        settings = self.settings
        self._step(ConnectionEvent.CONNECT)
        opened: Answer[None] = Answer()
        limit = settings.connect_timeout

        def on_open(_transport: object) -> None:
            # Here and not by who waits, who wakes later: it may be lost again by then.
            self._step(ConnectionEvent.OPENED)
            opened.set_result(None)

        transport: Transport | None = None
        try:
            with gevent.Timeout(limit, OperationTimeout("connecting", limit)):
                transport = Transport(
                    parameters(settings, self.host, self.port, self.role),
                    connect_socket(settings, self.host, self.port),
                    on_open=on_open,
                    on_failure=lambda _, exc: opened.set_exception(exc),
                    on_close=self._on_close,
                    late_after=settings.late_after,
                )
                path: Path = PlainPath() if settings.plain_pika else Codec(transport)
                transport.start()
                opened.get("the AMQP handshake", limit)
        except BaseException as exc:
            if transport is not None:
                transport.abandon()
            self._step(ConnectionEvent.LOST)
            if isinstance(exc, Exception) and not isinstance(exc, SettingsError):
                where = self.host, self.port
                raise error_translation.connecting_failed(settings, *where, exc) from exc
            raise
        transport.add_on_connection_blocked_callback(self._on_blocked)
        transport.add_on_connection_unblocked_callback(self._on_unblocked)
        logger.debug("%r is open.", self)
        return transport, path

    def _step(self, event: ConnectionEvent) -> None:
        self._state = next_state(SINGLE, self._state, event)
        self.alive = self._state is ConnectionState.OPEN

    # --- alarms

    def _on_blocked(self, _transport: object, frame: Any) -> None:
        self.blocked = str(frame.method.reason)
        self._flowing.clear()
        logger.warning("The broker takes no publishes now: %s.  They wait.", self.blocked)

    def _on_unblocked(self, _transport: object, _frame: object) -> None:
        self.blocked = None
        self._flowing.set()
        logger.info("The broker takes publishes again.")

    @property
    def takes_data(self) -> bool:
        """Whether a publish can be written without waiting."""
        return self.blocked is None and not self.transport.congested

    def wait_writable(self, limit: float) -> None:
        """Wait until publishes can be written, or the connection ends; switches.

        Raises `OperationTimeout` after *limit* seconds.
        """
        deadline = time.monotonic() + limit
        while not self.takes_data and self.alive:
            if not self._flowing.wait(max(0.0, deadline - time.monotonic())):
                raise OperationTimeout(f"publish: the broker takes none ({self.blocked})", limit)
            self.transport.wait_writable(max(0.0, deadline - time.monotonic()))

    # --- channels

    def open_channel(self) -> Channel:
        """Return a new channel; switches greenlets."""
        if not self.alive:
            raise self._ended()
        opened: Answer[Any] = Answer()
        channel = Channel(self, opened)
        self._channels.add(channel)
        channel.on_end.append(lambda _error: self._channels.discard(channel))
        try:
            opened.get("channel.open", self.settings.operation_timeout)
        except BaseException:
            channel.give_up()
            raise
        return channel

    @contextmanager
    def lease(self) -> Iterator[Channel]:
        """Lend a channel for what the broker may refuse: a refusal ends this channel alone."""
        while self._idle and not self._idle[-1].alive:
            self._idle.pop()
        channel = self._idle.pop() if self._idle else self.open_channel()
        try:
            yield channel
        except BaseException:
            channel.give_up()  # the answer to what was asked on it may still be due
            raise
        self._idle.append(channel)

    def consuming_channel(self) -> Channel:
        """Return a channel for a consumer: its own, until there are very many; see `release`."""
        if self._own >= OWN_CHANNELS:
            return self._shared_channel()
        self._own += 1
        try:
            channel = self.open_channel()
        except BaseException:
            self._own -= 1
            raise
        channel.on_end.append(self._own_ended)
        return channel

    def _own_ended(self, _error: PostageError) -> None:
        self._own -= 1

    def _shared_channel(self) -> Channel:
        turn = next(self._turns)
        if turn < SHARED_CHANNELS:
            self._shared.append(SharedResource(self._open_shared))
        return self._shared[turn % SHARED_CHANNELS].get()

    def _open_shared(self) -> Channel:
        channel = self.open_channel()
        channel.share()
        return channel

    def _open_plain(self) -> Channel:
        channel = self.open_channel()
        channel.on_end.append(self._plain_ended)
        return channel

    def _open_calling(self) -> Channel:
        channel = self.open_channel()
        channel.on_return(self._on_return)
        return channel

    def _plain_ended(self, error: PostageError) -> None:
        # Nobody waits for what is not confirmed, so here alone it shows that an exchange is gone.
        if isinstance(error, ChannelRefused):
            logger.warning("What was published without confirm may be lost: %s", error)
            for exchange in [known for known in self.declared if error.misses(known.name)]:
                self.discard_declaration(exchange)

    def _open_confirming(self) -> Channel:
        channel = self.open_channel()
        channel.confirm_publishes()
        return channel

    def replace_channel(self, resource: SharedResource[Channel]) -> Channel | None:
        """Publish on another channel from now on; return the one that retires.  Never switches.

        For who published, and the broker refused or lost it: a channel of RabbitMQ may know only
        the leader that a quorum queue had, and after that has gone refuse all that is published to
        the queue, for ever, while a new one finds the new leader.  As there are other reasons, such
        as a queue that is full, nothing happens within the first `RENEWAL` seconds of a channel.
        """
        channel = resource.current
        if channel is None or time.monotonic() - channel.since < RENEWAL:
            return None
        resource.invalidate()
        channel.retire()
        return channel

    def declare(self, exchange: type[Exchange]) -> None:
        """Declare *exchange* unless this connection has done so; raises `TopologyMismatch`.

        Switches unless *exchange* is in `declared`.
        """
        if exchange in self.declared:
            return
        declaring = self._declaring.get(exchange)
        if declaring is None:
            declaring = self._declaring[exchange] = SharedResource(partial(self._declare, exchange))
        declaring.get()

    def _declare(self, exchange: type[Exchange]) -> Connection:
        """Declare *exchange*; return the connection, with whose end the declaration is void."""
        with self.lease() as channel:
            channel.exchange_declare(**exchange.parameters)
        self.declared.add(exchange)
        return self

    def discard_declaration(self, exchange: type[Exchange]) -> None:
        """Declare *exchange* again when it is next used: the broker says that it does not exist."""
        self.declared.discard(exchange)
        self._declaring.pop(exchange, None)

    # --- the end

    def wait_end(self, seconds: float) -> None:
        """Switch for *seconds*, or until the connection ends, if that is sooner."""
        self._over.wait(seconds)

    def close(self, limit: float = 5.0) -> None:
        """Flush and close, waiting at most *limit* seconds; closing twice is fine."""
        self._silence()
        if self.alive:
            self.transport.close()
        self._step(ConnectionEvent.CLOSE)
        if self._state is ConnectionState.CLOSING:
            self._over.wait(limit)
        if self._state is ConnectionState.CLOSING:
            logger.debug("%r was dropped: the broker did not confirm its end.", self)
            self.transport.drop()

    def _silence(self) -> None:
        # What is written to a channel after its close would be a fault of the whole connection.
        for channel in self._channels:
            channel.silence()

    def close_now(self, limit: float) -> None:
        """Flush and close without the hub, within *limit* seconds: see `Transport.close_now`."""
        self._silence()
        self._step(ConnectionEvent.CLOSE)
        self.transport.close_now(limit)

    def abandon(self) -> None:
        """Drop the socket without a word, as a forked child must."""
        self._state, self.alive = ConnectionState.CLOSED, False
        self.transport.abandon()

    def _on_close(self, _transport: object, reason: BaseException) -> None:
        closing = self._state is ConnectionState.CLOSING
        self._step(ConnectionEvent.ENDED if closing else ConnectionEvent.LOST)
        self._reason = reason
        self._over.set()
        self._flowing.set()
        for hook in self.on_end:
            hook(self._ended())

    _reason: BaseException | None = None

    def _ended(self) -> PostageError:
        closed = pika.exceptions.ConnectionClosedByClient(200, "closed")
        return error_translation.ended(self._reason or closed)
