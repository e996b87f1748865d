"""Walking along a queue: taking its messages one by one, and leaving it as it was.

How it works
------------
AMQP has no way to read a message without taking it.  So a walk takes the messages by basic.get,
and at its end gives back all that were not acknowledged.  The order of the queue is kept.  What a
return costs depends on the broker (measured with RabbitMQ 3.10 and 4.3):

==================  ===========================  ==================================================
queue               given back by                what it counts as
==================  ===========================  ==================================================
classic             either                       nothing
quorum, since 4.3   basic.nack                   an acquisition, which has no limit
quorum, before      the end of the channel       a delivery (``x-delivery-count``); basic.nack would
                                                 move the messages to the end of the queue
==================  ===========================  ==================================================

A quorum queue keeps returned messages apart, in the order of their returns, and delivers them
before all others.  So a walk that has begun with them takes all of them, even if it needs only the
first: their order stays the same.

A quorum queue drops or dead-letters a message that returns once more than its limit allows.  No
query of AMQP tells the limit.  But a broker refuses to declare a queue with other arguments, and
says which value it has, so `arguments_of` finds them out.  The limit that a policy sets stays
unknown.  If the process is killed on the way, the connection ends, which is a delivery everywhere.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

import gevent

from postage.environment import Layer, Source
from postage.errors import ChannelRefused, LookRefused, PostageError, TopologyMismatch
from postage.green.amqp.channel import Channel
from postage.green.amqp.connection import Connection
from postage.green.amqp.delivery import Delivery
from postage.green.amqp.getting import Gets
from postage.green.runtime import runtime_of
from postage.parking.failed import FailedMessage
from postage.queues import DEFAULT_LIMIT, DELIVERY_LIMIT, UNLIMITED_SINCE
from postage.recoverability import headers_of
from postage.settings import Settings, live

__all__ = ["Walk", "connection_to", "settings_for"]

NACK_IS_FREE = (4, 3)
"""The version since which a message that is given back by basic.nack keeps its place in a quorum
queue, and its count of deliveries."""
RETURNING = 0.5
"""Seconds that the end of a walk waits for the return of its messages."""
CLOSED_SHARE, NACKED_SHARE = 9, 30
"""Messages that are taken on one channel; the channels are closed one after the other.

For a quorum queue, each basic.get is a consumer, named after its delivery tag.  Before 4.3, the end
of a channel gives messages back in the order of these names: 1, 10, 2.  Since then, a channel sends
32 returns in their order, and more in any."""
MOST_CHANNELS = 1000
"""Channels of a walk.  Of more than 9,000 messages, or 30,000 since 4.3, the order may change."""
_QUEUE_TYPE = "x-queue-type"


def settings_for(url: str | None) -> Settings:
    """Return the settings of the broker at *url*; None: those that components have by default."""
    if url is None:
        return Settings.resolve()
    before, variable = live.layers, "POSTAGE_URL"
    live.layers = before.above(Layer(Source.PROGRAM, {variable: url}, {variable: "url"}))
    try:
        return Settings.resolve()
    finally:
        live.layers = before


def connection_to(url: str | None, *, publishing: bool = False) -> Connection:
    """Return the open connection of this hub to *url*; connecting switches.

    *publishing*: return the connection that publishes, from which a broker that is short of memory
    does not read; else the one that consumes.  Raises what connecting raises.
    """
    pair = runtime_of(settings_for(url)).pair
    return (pair.publishing if publishing else pair.consuming).get()


class Walk:
    """A walk along *queue* on a channel of its own; `close` leaves the queue as it was.

    Making one switches.  It raises `LookRefused` if a message that is given back could be dropped
    and *anyway* is false, `ChannelRefused` (404) if there is no such queue, and what opening a
    channel raises.  A walk takes at most as many messages as were in the queue at its beginning, so
    it ends even if others are added.
    """

    def __init__(
        self, connection: Connection, queue: str, *, anyway: bool, confirms: bool = False
    ) -> None:
        self.queue, self._connection = queue, connection
        self._limit = connection.settings.operation_timeout
        with connection.lease() as leased:
            self.size, self.consumers = leased.queue_counts(queue)
        self._nacks, self._share = connection.version >= NACK_IS_FREE, NACKED_SHARE
        if not self._nacks:
            known = arguments_of(connection, queue, anyway=anyway)
            limit = limit_of(connection, known)
            if limit is not None and not anyway:
                raise LookRefused(queue, limit)
            self._share = CLOSED_SHARE if known.get(_QUEUE_TYPE) == "quorum" else 0
        self.channel = connection.open_channel(confirms=confirms)
        """The first of its channels: what is published on it follows the acks before."""
        self._gets = [Gets(self.channel, self._limit)]
        self._asked: deque[Gets] = deque()  # those that owe an answer
        self._asks = 0
        self._held: dict[int, tuple[Channel, int]] = {}
        self._was_returned = False
        self._times: Counter[str] = Counter()
        self.taken = 0
        """How many messages it has come to."""
        self.acked = 0
        """How many of them were acknowledged."""

    def __iter__(self) -> Iterator[FailedMessage]:
        """Take one message after the other; each step may switch.

        While one message is handled, the next one is on its way.
        """
        while self.taken < self.size:
            delivery = self._next(ahead=True)
            if delivery is None:
                return
            found = FailedMessage.of(self.queue, self.taken, delivery)
            before = self._times[found.id]
            self._times[found.id] += 1
            yield found.again(before) if before else found

    def _next(self, *, ahead: bool) -> Delivery | None:
        """Take a message; with *ahead*, let the broker send another one meanwhile."""
        if not self._asked:
            self._ask()
        gets = self._asked.popleft()
        delivery = gets.answer()
        if delivery is None:
            self._was_returned = False
            return None
        self.taken += 1
        self._held[self.taken] = gets.channel, delivery.delivery_tag
        self._was_returned = delivery.redelivered and is_counted(delivery)
        if ahead and self.taken < self.size:
            self._ask()
        return delivery

    def _ask(self) -> None:
        is_full = self._share and self._asks and self._asks % self._share == 0
        if is_full and len(self._gets) < MOST_CHANNELS:
            self._gets.append(Gets(self._connection.open_channel(), self._limit))
        self._asks += 1
        self._gets[-1].ask(self.queue)
        self._asked.append(self._gets[-1])

    def ack(self, number: int) -> None:
        """Acknowledge the message *number*; never switches.

        The broker gets the ack before everything that is written later.
        """
        channel, tag = self._held.pop(number)
        self.acked += 1
        channel.codec.ack(channel.number, tag, multiple=False)

    def close(self) -> None:
        """Give back the messages that were not acknowledged; may be called twice.

        Switches, and waits a moment until the messages are back.  Raises nothing: without a
        connection, the broker has got the messages back already.
        """
        if not self.channel.alive:
            return  # the broker has got everything back
        with suppress(PostageError):  # then the end of the channel gives it back
            while self._asked or (self._was_returned and self.taken < self.size):
                self._next(ahead=False)
        held: dict[Channel, list[int]] = {each.channel: [] for each in self._gets}
        for channel, tag in self._held.values():
            held[channel].append(tag)
        self._held.clear()
        for channel, tags in held.items():  # one after the other, to keep the order
            for tag in tags if self._nacks else ():
                channel.codec.give_back(channel.number, tag)
            channel.close()
        with suppress(PostageError):
            self._wait_returned(self.size - self.acked)

    def _wait_returned(self, expected: int) -> None:
        """Wait a moment until the messages are back.

        A quorum queue gives them back after the channel has ended, and another walk that begins
        before would change their order.  If others consume, nobody can tell.
        """
        deadline = time.monotonic() + RETURNING
        while self.taken and time.monotonic() < deadline:
            with self._connection.lease() as channel:
                messages, consumers = channel.queue_counts(self.queue)
            if messages >= expected and consumers <= self.consumers:
                return
            gevent.sleep(0.005)


def is_counted(delivery: Delivery) -> bool:
    """Tell whether *delivery* comes from a queue that counts returns, as quorum queues do."""
    headers = headers_of(delivery) or {}
    return "x-acquired-count" in headers or "x-delivery-count" in headers


# --- the delivery limit of a queue


def limit_of(connection: Connection, arguments: Mapping[str, Any]) -> int | None:
    """Return the delivery limit of a queue with these *arguments*; None: there is none."""
    has_default = connection.version >= UNLIMITED_SINCE
    if arguments.get(_QUEUE_TYPE) != "quorum":
        return None
    told = arguments.get(DELIVERY_LIMIT)
    if told is None:
        return DEFAULT_LIMIT if has_default else None
    limit = int(told)
    return None if limit < 0 and has_default else max(0, limit)


def arguments_of(connection: Connection, queue: str, *, anyway: bool = False) -> dict[str, Any]:
    """Return what refusals tell of the type and the delivery limit of *queue*; switches.

    The queue must exist: it is declared as a quorum queue with a limit that no queue has.  Each
    refusal names one difference, which the next try takes over, until the type and the limit are
    known.  This needs the permission to configure the queue: without it, raises `ChannelRefused`
    (403), or returns nothing with *anyway*.
    """
    unlikely = (1 << 31) - 2
    arguments: dict[str, Any] = {_QUEUE_TYPE: "quorum", DELIVERY_LIMIT: unlikely}
    found: dict[str, Any] = {}
    for _ in range(20):  # brokers compare fewer arguments
        try:
            with connection.lease() as channel:
                channel.queue_declare(queue, durable=True, arguments=arguments)
        except TopologyMismatch as exc:  # noqa: PERF203 - each try is one
            flag, theirs = exc.flag, exc.theirs
            if flag in found or not flag.startswith("x-"):
                break
            found[flag] = None if theirs == "none" else theirs
            if flag in (_QUEUE_TYPE, DELIVERY_LIMIT):
                break
            if theirs == "none":
                arguments.pop(flag, None)
            else:
                arguments[flag] = int(theirs) if theirs.lstrip("-").isdigit() else theirs
        except ChannelRefused:
            if not anyway:  # nobody knows whether a look is safe
                raise
            break
        else:
            break
    if DELIVERY_LIMIT in found:
        found[_QUEUE_TYPE] = "quorum"
    return found
