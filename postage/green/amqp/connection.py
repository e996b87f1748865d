"""One AMQP connection of a hub: connecting, its channels, its end.

How it works
------------
Making a `Connection` connects a socket, does the AMQP handshake over it, and puts the `Codec` on
the transport.  What happens to it afterwards follows the table `connection_states.SINGLE`.

Each purpose has channels of its own, because on a mistake the broker closes the whole channel:

============  ==========================  =====================================================
channel       made                        set up with
============  ==========================  =====================================================
`confirming`  once, at first use          confirms
`plain`       once, at first use          what is lost by a refusal is written again
`calling`     once, at first use          the same, and the handler of returned requests
`keeping`     one for each queue          confirms; see `Connection.keeping`
consuming     one for each consumer       nothing; it is closed with its consumer
shared        for consumers beyond the    ``shared``: the end of a consumer leaves it open
              number in `ChannelPlan`
leased        as many as are needed       nothing; it is reused for the next lease
============  ==========================  =====================================================

A broker may allow fewer channels (channel_max of connection.tune, or RabbitMQ's ``max-channels`` of
a user).  Then more consumers share, and leases end at once and wait for each other.
"""

from __future__ import annotations

import itertools
import operator
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property, partial
from typing import Any

import gevent
import pika
from gevent.event import Event
from pika.channel import MAX_CHANNELS

from postage.errors import ChannelRefused, ConnectionLost, NoFreeChannel, PostageError
from postage.flight_recorder import EventKind, flight_recorder
from postage.green.amqp import error_translation
from postage.green.amqp.channel import Channel, OnReturn
from postage.green.amqp.channel_plan import ChannelPlan, share_of
from postage.green.amqp.codec import Codec
from postage.green.amqp.connection_states import (
    SINGLE,
    ConnectionEvent,
    ConnectionState,
    next_state,
)
from postage.green.amqp.declared_exchanges import DeclaredExchanges
from postage.green.amqp.deleted_exchanges import CONSUMERS_WAIT, PUBLISHERS_WAIT
from postage.green.amqp.hub_logging import HubLogger
from postage.green.amqp.intake import Intake
from postage.green.amqp.opening import Opening
from postage.green.amqp.publish_record import OnFailure, log_failure
from postage.green.amqp.refusals import Refusals
from postage.green.amqp.retirement import Retirable
from postage.green.amqp.transport import Transport
from postage.green.amqp.trials import Trials
from postage.green.amqp.waiting import Answer, SharedResource, WaitQueue
from postage.queues import Version
from postage.settings import Settings

__all__ = ["PUBLISHING", "Connection"]

logger = HubLogger(__name__)

PUBLISHING = "publishing"
"""The role of the connection that publishes."""
MOST_KEEPING = 32
"""Channels of queues that keep failed messages; beyond that the one that was used first is closed.
"""
MIN_CHANNEL_AGE = 1.0
"""Seconds for which `replace_channel` keeps a new channel."""

_number = operator.attrgetter("number")


class Connection(Retirable, DeclaredExchanges):
    """An open connection, for greenlets of the hub in which it was made; logs name its *role*.

    Making one connects within ``connect_timeout``, which switches greenlets, and raises
    `ConnectionFailed`.  When the connection ends, every waiter on it fails at once.
    """

    def __init__(  # noqa: PLR0913 - the last two are shared by the connections of a pair
        self,
        settings: Settings,
        role: str,
        on_return: OnReturn,
        address: tuple[str, int] | None = None,
        refusals: Refusals | None = None,
        on_failure: OnFailure = log_failure,
    ) -> None:
        super().__init__(PUBLISHERS_WAIT if role == PUBLISHING else CONSUMERS_WAIT)
        self.settings, self.role = settings, role
        self._refusals = refusals or Refusals()
        self.trials = Trials(self, self._make_another, self._refusals)
        self.host, self.port = address or settings.addresses[0]
        self.on_behind: Callable[[Connection, Channel], None] = lambda *_: None
        """Called in the hub while the broker seems to have stopped reading what calls publish."""
        self.on_end: list[Callable[[PostageError], None]] = []
        """Called in the hub when the connection ends, for whatever reason."""
        self._state = ConnectionState.IDLE
        self.alive = False
        """Whether it is open: neither connecting nor closing, lost or closed."""
        self._ended = Event()
        self._reason: BaseException = pika.exceptions.ConnectionClosedByClient(200, "closed")
        self._channels: set[Channel] = set()
        self._idle: list[Channel] = []
        self._room = WaitQueue(self._has_room)
        self._lent: set[Channel] = set()
        self._own_count = 0  # consumers that have a channel of their own
        self._shared: list[SharedResource[Channel]] = []
        self._turns = itertools.count()
        open_channel = self.open_channel
        self.plain: SharedResource[Channel] = SharedResource(self._open_plain)
        """The channel for messages without confirms."""
        self.confirming = SharedResource(partial(open_channel, confirms=True))
        """The channel for messages with confirms."""
        self._keeping: dict[str, SharedResource[Channel]] = {}
        self.open_calling: Callable[[], Channel] = partial(
            self._open_calling, on_return, on_failure
        )
        """Returns a new channel that is set up as `calling`; switches."""
        self.calling: SharedResource[Channel] = SharedResource(self.open_calling)
        """The channel for requests and replies of RPC.

        Not `plain`: a message to an exchange that does not exist must not end calls.
        """
        self.transport, self.codec = self._connect()

    def __repr__(self) -> str:
        return (
            f"<Connection to {self.host}:{self.port}, {self.settings.vhost!r}, "
            f"for {self.role}, {self._state.name.lower()}>"
        )

    def statistics(self) -> dict[str, Any]:
        """Return the fields of `ConnectionStatistics` from *host* on; never switches."""
        channels = sorted((each.statistics() for each in self._channels), key=_number)
        return {
            "host": self.host,
            "port": self.port,
            "blocked": self.transport.blocked,
            "bytes_unsent": self.transport.unsent,
            "bytes_sent": self.transport.written,
            "bytes_received": self.transport.bytes_received,
            "channels": tuple(channels),
        }

    # --- connecting

    def _connect(self) -> tuple[Transport, Codec]:
        self._step(ConnectionEvent.CONNECT)
        where = self.settings, self.host, self.port, self.role
        try:
            opening = Opening(*where, on_open=self._on_open, on_close=self._on_close)
            transport, codec = opening.run()
        except BaseException:
            self._step(ConnectionEvent.LOST)
            raise
        transport.watch(self.is_owed, self._ask)
        transport.add_on_connection_blocked_callback(self._note_alarm)
        transport.add_on_connection_unblocked_callback(self._note_end_of_alarm)
        self._intake = Intake(self.settings.memory, transport, codec, self._channels)
        self.on_end.append(self._intake.stop)
        return transport, codec

    def _on_open(self) -> None:
        # In the hub: the connection may be lost before the greenlet that connects runs again.
        self._step(ConnectionEvent.OPENED)
        self._refusals.on_limit.append(self._shrink)

    def _note_alarm(self, _transport: object, frame: Any) -> None:
        text = f"the broker takes no publishes: {frame.method.reason}"
        flight_recorder.note(EventKind.ALARM, text)

    def _note_end_of_alarm(self, _transport: object, _frame: object) -> None:
        flight_recorder.note(EventKind.ALARM, "the broker takes publishes again")

    def suspect(self) -> None:
        """Check soon whether the connection is half-open; never switches."""
        self.transport.silence.suspect()

    def is_owed(self) -> bool:
        """Return whether the broker owes an answer or a confirm; for any native thread."""
        return any(channel.is_owed for channel in list(self._channels))

    def _ask(self) -> None:
        gevent.spawn(self._ask_apart)

    def _ask_apart(self) -> None:
        """Ask on a leased channel, which does not wait for anything else, such as a slow queue."""
        try:
            with self.lease() as channel:
                channel.ask()
        except PostageError as exc:
            logger.debug("%r could not be tested: %s", self, exc)
            self.transport.silence.excuse()

    def _step(self, event: ConnectionEvent) -> None:
        self._state = next_state(SINGLE, self._state, event)
        self.alive = self._state is ConnectionState.OPEN

    def _make_another(self) -> Connection:
        """Return a further connection to the same address, for a trial; switches."""
        where = self.host, self.port
        role, refusals = "a trial", self._refusals
        return Connection(self.settings, role, lambda _reason, _properties: None, where, refusals)

    # --- channels

    def open_channel(
        self,
        *,
        confirms: bool = False,
        shared: bool = False,
        lent: bool = False,
        on_return: OnReturn | None = None,
        on_end: Callable[[PostageError], None] | None = None,
    ) -> Channel:
        """Return a new channel, set up as the head of this module says; switches greenlets."""
        if not self._has_room():
            self._wait_for_room()
        if not self.alive:
            raise self._error()
        if self.is_retired and not lent:
            raise self._replaced()
        limit = self.settings.operation_timeout
        opened: Answer[Any] = Answer()
        channel = Channel(self.transport, self.codec, opened, limit, self)
        is_first = not self._channels
        self._channels.add(channel)
        self._refusals.channels_used += 1
        if lent:
            self._lent.add(channel)
        channel.on_end.append(partial(self._note_end, channel, opened))
        try:
            opened.get("channel.open", limit)
        except ConnectionLost as exc:
            told = error_translation.channel_limit_in(exc)
            if told is None or not is_first or self._refusals.counts_ended:
                raise
            # Other connections have them all, so that it would not help to connect again.
            raise NoFreeChannel(told, 0, name="max-channels") from exc
        except BaseException:
            channel.close_nowait()
            raise
        channel.shared, channel.on_return = shared, on_return
        channel.acks_only = self._refusals.acks_only
        if on_end is not None:
            channel.on_end.append(on_end)
        if confirms:
            channel.confirm_publishes()
        return channel

    @cached_property
    def version(self) -> Version:
        """The version of RabbitMQ that the broker is, or is like; empty for another broker."""
        told = self.transport.server_properties or {}
        found = re.match(r"\d+(\.\d+)*", str(told.get("version")))
        if found is None or told.get("product") not in ("RabbitMQ", "postage-embedded"):
            return ()
        return tuple(map(int, found[0].split(".")))

    @property
    def product(self) -> str:
        """The name and the version of the broker, as it tells them."""
        told = self.transport.server_properties or {}
        return f"{told.get('product', 'an unnamed product')} {told.get('version', 'no version')}"

    @property
    def survives_wrong_keys(self) -> bool:
        """Whether a direct reply with a key that is not genuine leaves the connection open.

        Measured: 4.3.6 drops the reply; 3.10.8 and 4.0.5 end the connection (541).
        """
        return self.version >= (4, 3)

    @property
    def lends_reply_channels(self) -> bool:
        """Whether calls may borrow channels for direct replies: see `ReplyChannels`."""
        return self.survives_wrong_keys and not ChannelPlan.of(self._limit).is_tight

    @property
    def keeps_on_disk(self) -> bool:
        """Whether the broker may have messages after its end, unlike the embedded one."""
        return (self.transport.server_properties or {}).get("product") != "postage-embedded"

    @property
    def _limit(self) -> int:
        """How many channels it may have."""
        limit: int = self.transport.params.channel_max or MAX_CHANNELS
        total = self._refusals.channels
        return limit if total is None else min(limit, share_of(self.role, total))

    def _has_room(self) -> bool:
        is_allowed = self._refusals.allows_channel and len(self._channels) < self._limit
        return is_allowed or not self.alive

    def _wait_for_room(self) -> None:
        """Wait until there is room for a channel; raise `NoFreeChannel` if there will be none."""
        while self._idle:
            self._idle.pop().close_nowait()
        may_end = self._lent or not all(channel.alive for channel in self._channels)
        if not (may_end and self._room.wait(self.settings.operation_timeout)):
            of_user, limit = self._refusals.channels, self.transport.params.channel_max
            if of_user is None or limit < of_user:
                raise NoFreeChannel(limit, len(self._channels), name="channel_max")
            raise NoFreeChannel(of_user, len(self._channels), name="max-channels")

    def _note_end(self, channel: Channel, opened: Answer[Any], error: PostageError) -> None:
        if opened.has_value:
            self._refusals.note_channel_end()
        if isinstance(error, ChannelRefused):
            flight_recorder.note(EventKind.REFUSAL, error)
        if channel in self._channels:
            self._channels.remove(channel)
            self._refusals.channels_used -= 1
        self._lent.discard(channel)
        self._room.wake()

    def _shrink(self) -> None:
        """Give up the channels over the limit, which has become less; runs in the hub."""
        while self._idle:
            self._idle.pop().close_nowait()
        own = [channel for channel in self._channels if self._on_own_end in channel.on_end]
        for channel in own[ChannelPlan.of(self._limit).own :]:
            channel.give_up()  # its consumers will share one

    def _open_calling(self, on_return: OnReturn, on_failure: OnFailure) -> Channel:
        channel = self.open_channel(on_return=on_return)
        channel.on_failure = on_failure
        channel.republish = lambda entry: entry.publish_on(self.calling.get())
        channel.on_behind = lambda channel: self.on_behind(self, channel)
        return channel

    def _open_plain(self) -> Channel:
        channel = self.open_channel(on_end=self._on_plain_end)
        channel.republish = lambda entry: entry.publish_on(self.plain.get())
        return channel

    @contextmanager
    def lease(self) -> Iterator[Channel]:
        """Lend a channel for requests that the broker may refuse, which ends only this channel.

        Switches if a new channel must be opened.
        """
        while self._idle and not self._idle[-1].alive:
            self._idle.pop()
        channel = self._idle.pop() if self._idle else self.open_channel(lent=True)
        self._lent.add(channel)
        try:
            yield channel
        except BaseException:
            channel.close_nowait()  # answers to requests of the block may still arrive
            raise
        self._lent.discard(channel)
        if self._room.waiting or self.is_retired or ChannelPlan.of(self._limit).is_tight:
            channel.close_nowait()
        else:
            self._idle.append(channel)

    def consuming_channel(self) -> Channel:
        """Return a channel for a consumer, shared if `ChannelPlan` has none for it; switches.

        The caller gives it back by `Channel.release`.
        """
        plan = ChannelPlan.of(self._limit)
        if self._own_count >= plan.own:
            return self._next_shared(plan.shared).get()
        self._own_count += 1
        try:
            return self.open_channel(on_end=self._on_own_end)
        except BaseException:
            self._own_count -= 1
            raise

    def _on_own_end(self, _error: PostageError) -> None:
        self._own_count -= 1

    def _next_shared(self, count: int) -> SharedResource[Channel]:
        while len(self._shared) < count:
            self._shared.append(SharedResource(partial(self.open_channel, shared=True)))
        return self._shared[next(self._turns) % count]

    def keeping(self, queue: str) -> SharedResource[Channel]:
        """Return the channel for copies of failed messages that go into *queue*; never switches.

        RabbitMQ carries out what a channel asks in its order.  A quorum queue without a leader lets
        it wait for a minute, so what goes into other queues must not stand behind.  If the broker
        allows only few channels, this is `confirming`.
        """
        if ChannelPlan.of(self._limit).is_tight:
            return self.confirming
        known = self._keeping
        resource = known.pop(queue, None) or SharedResource(
            partial(self.open_channel, confirms=True)
        )
        known[queue] = resource  # at the end: the first is that which was not used for longest
        if len(known) > MOST_KEEPING:
            channel = known.pop(next(iter(known))).current
            if channel is not None:
                channel.close_when_confirmed()
        return resource

    def replace_channel(self, resource: SharedResource[Channel]) -> Channel | None:
        """Publish on a new channel from now on; return the old one, or None.  Never switches.

        For a publisher whose message the broker has refused or lost.  A channel of RabbitMQ may
        know only the former leader of a quorum queue and refuse every message to that queue, while
        a new channel finds the new leader.  Other refusals, such as that of a full queue, are more
        frequent, so a channel is not replaced in its first `MIN_CHANNEL_AGE` seconds.
        """
        channel = resource.current
        if channel is None or time.monotonic() - channel.since < MIN_CHANNEL_AGE:
            return None
        resource.invalidate()
        channel.close_when_confirmed()
        return channel

    def _on_plain_end(self, error: PostageError) -> None:
        # No publisher waits for an answer, so a missing exchange shows only at the channel's end.
        if isinstance(error, ChannelRefused):
            for exchange in [*self.declared]:
                if error.misses(exchange.name, "exchange"):
                    self.note_missing(exchange)

    # --- the end

    def wait_end(self, seconds: float) -> None:
        """Switch for *seconds*, or until the connection ends, if that is sooner."""
        self._ended.wait(seconds)

    def close(self, limit: float = 5.0) -> None:
        """Flush and close, waiting at most *limit* seconds; switches.  Closing twice is fine."""
        self._stop_writing()
        if self.alive:
            self.transport.close()
        self._step(ConnectionEvent.CLOSE)
        if self._state is ConnectionState.CLOSING:
            self._ended.wait(limit)
        if self._state is ConnectionState.CLOSING:
            logger.debug("%r is disconnected: the broker did not answer connection.close.", self)
            self.transport.disconnect()

    def _stop_writing(self) -> None:
        # A write to a channel after the close would be an error of the whole connection.
        for channel in self._channels:
            channel.stop_writing()

    def close_without_hub(self, limit: float) -> None:
        """Flush and close within *limit* seconds while the hub does not run."""
        self._stop_writing()
        self._step(ConnectionEvent.CLOSE)
        self._intake.stop()
        self.transport.close_without_hub(limit)

    def close_socket(self) -> None:
        """Close the socket without telling the broker, as a forked child must."""
        self._state, self.alive = ConnectionState.CLOSED, False
        self._intake.stop()
        self.transport.close_socket()

    def _on_close(self, _transport: object, reason: BaseException) -> None:
        closing = self._state is ConnectionState.CLOSING
        self._step(ConnectionEvent.ENDED if closing else ConnectionEvent.LOST)
        self._reason = reason
        self._ended.set()
        self._room.wake()
        self._refusals.on_limit.remove(self._shrink)
        error = self._error()
        stream = error_translation.stream_in(error)
        if stream is not None:
            self._refusals.acks_only.add(stream)
        limit = error_translation.channel_limit_in(error)
        if limit is not None:
            self._refusals.limit_channels(limit)
        for callback in self.on_end:
            callback(error)

    def _error(self) -> PostageError:
        return error_translation.ended(self._reason)
