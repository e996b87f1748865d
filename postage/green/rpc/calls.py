"""RPC from the caller's side: a call is sent, and sent again, until it has exactly one outcome.

How it works
------------
A call is sent to the exchange of its producer, and its greenlet waits for one reply message.  The
reply arrives on a queue that belongs to this process.  It carries the *correlation id* of the
request, which tells whose call it answers.

Three things complicate this:

* **Servers that do not return the correlation id.**  Postage 1.2.1 does not.  The first call to a
  destination is the *probe*.  It gets a reply queue of its own, or a lent channel that serves as
  one (`reply_channels`), so that its reply needs no id.  It asks for a receipt, which shows whether
  the id comes back; other calls to this destination wait up to 50 ms for that.  If the id comes
  back, all later calls share one reply queue; if not, each of them has its own.  The states of a
  destination are a table in `peers`.
* **Servers that are replaced by older ones.**  If a reply without an id arrives on the shared
  queue, its call cannot be known, and it may be forged: each server that was ever called knows the
  name of the queue.  The reply is dropped, and a call that it was meant for is sent again when its
  try times out.  The next call to each destination with a call in flight is a probe again.
* **Lost connections and deadlines.**  A request or its reply may be lost with a connection, channel
  or queue.  The call is then sent again with the same id, as long as tries and time remain, so a
  server may see it twice.  Reconnecting, declaring and waiting for an alarm use time, but no try.
  Everything together ends at the deadline of the call (`retry.CallBudget`), and at the deadline of
  the request that the calling greenlet handles.

A call therefore ends in one of four ways: a reply, a returned request (no queue is bound to its
key), a connection that is lost or closed for good, or a timeout.  The first of them decides;
anything later is counted as ``late`` and dropped.  The states of a call are a table in `pending`.

A user without the permission to declare queues gets replies by RabbitMQ's direct reply-to; each
reply queue then has a channel for its requests.

In the steady state a call finds its channel and reply queue open (`Calls._ready_route`), writes the
request, and waits; nothing else switches greenlets.  `Calls._prepare` makes everything that is
missing.  Methods that begin with ``_on_`` run in the hub.
"""

from __future__ import annotations

import math
import time
from collections import Counter, deque
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import gevent.event

from postage import deadline
from postage.errors import (
    ChannelRefused,
    ConnectionClosed,
    ConnectionFailed,
    ConnectionLost,
    NoRoute,
    OperationTimeout,
    PostageError,
    SettingsError,
)
from postage.exchange import Exchange
from postage.green.amqp.channel import Channel
from postage.green.amqp.connection import Connection
from postage.green.amqp.deleted_exchanges import POLL
from postage.green.amqp.delivery import Delivery
from postage.green.amqp.hub_logging import HubLogger
from postage.green.amqp.pair import Pair
from postage.green.amqp.properties import Properties, PropertiesTemplate, correlation_id_of
from postage.green.amqp.publish_record import PublishEntry
from postage.green.amqp.waiting import Gate, SharedResource
from postage.green.rpc.peers import ECHOES, RECEIPT, Destination, PeerEvent, PeerState, PeerTable
from postage.green.rpc.pending import CallOutcome, CallRequest, PendingCall
from postage.green.rpc.replies import DirectReplyQueue, ReplyQueue, private_queue
from postage.green.rpc.reply_channels import ReplyChannels
from postage.green.rpc.unanswered import unanswered
from postage.green.tries import CallBudget, expiration
from postage.log_records import counted
from postage.message import CONNECTION_LOST, NO_ROUTE
from postage.protocol import ACCESS_REFUSED

__all__ = ["Calls"]

logger = HubLogger(__name__)

_REQUEST = PropertiesTemplate("correlation_id", "content_type", "reply_to", "expiration")

PROBE_WAIT = 0.05
"""Seconds that a call waits for the probe of another call: ten times the usual receipt."""
DOUBT_INTERVAL = 1.0
"""A reply without an id makes us doubt all destinations if none came in the seconds before it.
Doubting looks at all calls in flight, which would be too much for each of many such replies."""


class _Probe(NamedTuple):
    """The first call to a destination, and the event on which other calls wait for its result."""

    call: PendingCall
    ended: gevent.event.Event


class Calls:
    """All calls of one pair.  `call` and `send_only` are for greenlets of its hub."""

    def __init__(self, pair: Pair, declare_gate: Gate) -> None:
        self._pair, self._declare_gate = pair, declare_gate
        self._pending: dict[str, PendingCall] = {}
        self.peers = PeerTable()
        """Whether the servers of each destination return the correlation id."""
        self._probes: dict[Destination, _Probe] = {}
        self._last_doubt = -math.inf
        """When a reply without an id arrived last on the shared queue, by the monotonic clock."""
        self._unwatched: deque[str] = deque(maxlen=1000)  # ids of requests without a call
        self._connection: Connection | None = None
        self._request_channel: Channel | None = None
        self._reply_channel: SharedResource[Channel] = SharedResource(self._open_reply_channel)
        self._shared_queue: ReplyQueue | None = None
        self._shared: SharedResource[ReplyQueue] = SharedResource(self._open_shared_queue)
        self._reply_channels = ReplyChannels()
        self._replies_directly = False  # whether the broker has refused us a reply queue
        self.counts: Counter[str] = Counter()
        """``late`` or second replies, ``unmatched`` ones without an id, ``returned`` requests, and
        ``repeated`` ones, which were sent once more."""
        pair.on_return.append(self._on_return)
        pair.on_failure.append(self._on_failure)
        pair.on_leave.append(self._on_leave)
        pair.awaits.append(self._awaits)

    def __len__(self) -> int:
        """Return how many calls are in flight."""
        return len(self._pending)

    # --- for callers

    def call(self, request: CallRequest, *, timeout: float, max_retry: int) -> CallOutcome:
        """Send *request*; return its reply, or an exception result that says why there is none.

        Switches greenlets.  Ends within ``timeout * (max_retry + 1)`` seconds, and before the
        deadline of the request that the calling greenlet handles; that covers connecting, writing,
        waiting and all tries.  A try is sent again when it has waited *timeout* seconds, or when
        its connection, channel or reply queue is lost.  All tries have the same correlation id, and
        each expires in its queue when the caller has stopped waiting for it.
        """
        call = PendingCall(self._pair.new_id(), request)
        try:
            return self.open(call, timeout=timeout, max_retry=max_retry)
        finally:
            self.end(call)

    def open(self, call: PendingCall, *, timeout: float, max_retry: int) -> CallOutcome:
        """Do what `call` does for *call*, which stays in flight until `end`; switches."""
        limit = math.inf if deadline.current() is None else deadline.remaining()
        budget = CallBudget(timeout, max_retry + 1, limit)
        self._pending[call.id] = call
        while call.outcome is None and not budget.expired:
            route = self._ready_route(call)
            if route is None:
                self._prepare(call, budget)
            else:
                self._try(call, budget, *route)
        # An exception result is false in a condition, but it is an outcome.
        return unanswered(self._pair, call, budget) if call.outcome is None else call.outcome

    def end(self, call: PendingCall) -> None:
        """End *call* and its reply queue; never switches, and may be called twice."""
        self._pending.pop(call.id, None)
        if self._probes and self._is_probe(call):
            self._record(call.destination, PeerEvent.PROBE_ENDED)
        if call.own_queue is not None:
            call.own_queue.close()
            call.own_queue = None  # breaks a reference cycle: the queue refers to the call

    def send_only(self, request: CallRequest, *, timeout: float) -> str:
        """Send *request*; return the name of a new private queue for its reply; switches."""
        queue = private_queue(self._reply_channel.get())
        channel = self._open_request_channel(request.exchange, timeout).calling.get()
        id_ = self._pair.new_id()
        self._unwatched.append(id_)
        usual = _REQUEST.render(id_, request.content_type, queue, expiration(timeout))
        destination, properties = (request.exchange.name, request.key), request.extended(usual)
        channel.publish(*destination, properties, request.body, mandatory=True, limit=timeout)
        return queue

    # --- one try

    def _ready_route(self, call: PendingCall) -> tuple[Channel, ReplyQueue] | None:
        """Return the open channel and reply queue for *call*; None if anything must be prepared.

        Never switches.
        """
        channel, connection, queue = self._request_channel, self._connection, call.own_queue
        if channel is None or not channel.alive or connection is None:
            return None
        # The queue of the server may be among those being declared.
        if self._pair.declaring and self._pair.is_declaring:
            return None
        if not (connection.transport.takes_data and call.request.exchange in connection.declared):
            return None
        if queue is None and self.peers[call.destination] is ECHOES:
            queue = self._shared_queue
        if queue is None or not (queue.alive and _fits(queue, connection)):
            return None
        return queue.request_channel or channel, queue

    def _try(
        self, call: PendingCall, budget: CallBudget, channel: Channel, queue: ReplyQueue
    ) -> None:
        """Send *call* once, and wait for its outcome, its loss, or the end of this try."""
        seconds = budget.start_try()
        if budget.used > 1:
            self.counts["repeated"] += 1
        request = call.request
        properties = _REQUEST.render(call.id, request.content_type, queue.name, expiration(seconds))
        asks = queue is call.own_queue and self._is_probe(call)
        properties = request.extended(properties, RECEIPT if asks else None)
        call.start_try(self._connection)
        try:
            channel.publish(
                *call.destination,
                properties,
                request.body,
                mandatory=True,
                limit=seconds,
            )
        except ChannelRefused as exc:
            call.fail(type(exc).__name__, exc)
        call.wait_for_outcome(seconds)
        if call.outcome is not None:
            return
        if call.loss is None:
            self._replace_request_channel()
            if (
                time.monotonic() - self._last_doubt < seconds
                and self.peers[call.destination] is ECHOES
            ):  # a reply without an id may have been that of this call
                self._record(call.destination, PeerEvent.DOUBTED)
        elif isinstance(call.loss, ConnectionClosed):
            call.fail(CONNECTION_LOST, call.loss)
        elif isinstance(call.loss, NoRoute):
            self._wait_for_route(call, budget)

    def _wait_for_route(self, call: PendingCall, budget: CallBudget) -> None:
        """Wait before the next try, because servers are about to bind their queues again."""
        budget.used -= 1  # no server has seen this try
        pause = budget.next_pause()
        if pause is None:
            call.fail(NO_ROUTE, call.loss)
        else:
            call.wait(min(pause, POLL))

    def _replace_request_channel(self) -> None:
        """Use another channel after a timeout, because requests on this one may reach no queue."""
        connection = self._pair.publishing.current
        if connection is not None:  # the broker still reads what was written to the old channel
            connection.replace_channel(connection.calling)

    # --- preparing a try

    def _prepare(self, call: PendingCall, budget: CallBudget) -> None:
        """Prepare what *call* needs to be sent, while it has time and no outcome; switches.

        Waits through reconnects and alarms.  A failure here uses no try, because nothing was sent.
        """
        try:
            with call.within(budget.remaining):
                self._pair.wait_declared(budget.remaining)
                connection = self._open_request_channel(call.request.exchange, budget.remaining)
                self._open_reply_queue(call, connection)
                connection.transport.wait_writable(budget.remaining)
        except ConnectionClosed as exc:
            call.fail(CONNECTION_LOST, exc)
        except (ChannelRefused, SettingsError) as exc:
            call.fail(type(exc).__name__, exc)  # it concerns this exchange, and will not pass
        except (ConnectionFailed, ConnectionLost, OperationTimeout) as exc:
            call.loss = exc
            if isinstance(exc, ConnectionFailed) and not self._pair.was_connected:
                call.fail(CONNECTION_LOST, exc)
                return
            pause = budget.next_pause()
            call.wait(budget.remaining if pause is None else pause)

    def _open_request_channel(self, exchange: type[Exchange], limit: float) -> Connection:
        """Connect, declare *exchange*, and open the channel for requests; return the connection."""
        while True:
            connection = self._pair.publishing.get(limit)
            connection.declare(exchange)
            channel = connection.calling.get()
            was_left = connection.alive and connection is not self._pair.publishing.current
            if not was_left:
                break
        self._request_channel = channel
        if connection is not self._connection:
            self._connection = connection
            connection.on_end.append(partial(self._on_requests_lost, connection))
        return connection

    def _open_reply_queue(self, call: PendingCall, connection: Connection) -> None:
        """Open the queue for the replies to *call*; wait for the probe of another call first.

        Direct replies come on the connection of their request, so only a queue on *connection* will
        do: the one before it may have been left.
        """
        if call.own_queue is None:
            probe = self._probes.get(call.destination)
            if probe is not None and probe.call is not call:
                self._shared.get()  # most likely, the probe finds that it can be used
                probe.ended.wait(PROBE_WAIT)
            if self.peers[call.destination] is ECHOES:
                if not _fits(self._shared.get(), connection):
                    self._shared.invalidate()
                    self._shared.get()
                return
            if self.peers[call.destination] is PeerState.UNKNOWN:
                self._probes[call.destination] = _Probe(call, gevent.event.Event())
                self.peers.record(call.destination, PeerEvent.PROBE_STARTED)
        elif not _fits(call.own_queue, connection):
            call.own_queue.close()
        if call.own_queue is None or not call.own_queue.alive:
            # Thousands of first calls at once would declare all their queues before the first of
            # them gets its consumer, and so its reply.
            with self._declare_gate.acquire():
                call.own_queue = self._open_own_queue(call)

    def _open_own_queue(self, call: PendingCall) -> ReplyQueue:
        callbacks = (lambda reply: self._on_own_reply(call, reply)), call.end_try
        if call.takes_direct_replies and self._connection is not None:
            channel = self._reply_channels.lend(self._connection)
            if channel is not None:
                return DirectReplyQueue(channel, *callbacks, self._reply_channels.give_back)
        return self.open_queue(*callbacks)

    def _open_reply_channel(self) -> Channel:
        return self._pair.consuming.get().open_channel()

    def _open_shared_queue(self) -> ReplyQueue:
        self._shared_queue = self.open_queue(self._on_reply, self._on_replies_lost)
        return self._shared_queue

    def open_queue(
        self,
        on_reply: Callable[[Delivery], None],
        on_loss: Callable[[PostageError], None],
        own: Channel | None = None,
    ) -> ReplyQueue:
        """Return a new reply queue, of the kind that our user may use; switches.

        *own* is the channel for direct replies, by default a new one.
        """
        if not self._replies_directly:
            try:
                return ReplyQueue(self._reply_channel.get(), on_reply, on_loss)
            except ChannelRefused as exc:
                if exc.code != ACCESS_REFUSED:
                    raise
                if not self._replies_directly:
                    logger.info("Calls use direct reply-to; reply queues are refused: %s", exc)
                self._replies_directly = True
        channel = own or self._pair.publishing.get().open_calling()
        channel.republish = None  # another channel would get no replies
        return DirectReplyQueue(channel, on_reply, on_loss)

    # --- probes

    def _is_probe(self, call: PendingCall) -> bool:
        probe = self._probes.get(call.destination)
        return probe is not None and probe.call is call

    def _record(self, destination: Destination, event: PeerEvent) -> None:
        """Record *event*; if it has ended a probe, wake the calls that wait for it."""
        state = self.peers.record(destination, event)
        if destination in self._probes and state is not PeerState.PROBING:
            self._probes.pop(destination).ended.set()

    # --- in the hub: replies

    def _on_reply(self, delivery: Delivery) -> None:
        """Give a reply from the shared queue to its caller."""
        id_ = correlation_id_of(delivery.header)
        if id_ is None:
            self._on_reply_without_id()
        else:
            self._finish(self._pending.get(id_), delivery)

    def _on_reply_without_id(self) -> None:
        """Drop a message on the shared queue that names no call.

        Either a classic server has taken over at one of the destinations whose calls share the
        queue, or a server that knows the queue forges replies.  The message does not show which of
        the two has happened.  A new probe does, and costs a call a millisecond.
        """
        last, self._last_doubt = self._last_doubt, time.monotonic()
        if self._last_doubt - last > DOUBT_INTERVAL:
            for destination in {c.destination for c in self._pending.values() if not c.own_queue}:
                self._record(destination, PeerEvent.DOUBTED)
        self.counts["unmatched"] += 1
        text = "A reply without correlation id was dropped; its call is sent again."
        logger.warning(text, extra=counted())

    def _on_own_reply(self, call: PendingCall, delivery: Delivery) -> None:
        """Take a message from the own queue of *call*: a reply, or a receipt."""
        id_ = delivery.properties.correlation_id
        returned = id_ == call.id
        self._record(call.destination, PeerEvent.ID_RETURNED if returned else PeerEvent.ID_MISSING)
        if delivery.properties.type != RECEIPT:
            self._finish(call if returned or id_ is None else None, delivery)

    def _finish(self, call: PendingCall | None, delivery: Delivery) -> None:
        """Give *call* its reply, unless no call waits for it or the call has an outcome already."""
        if call is None or not call.finish(delivery):
            self.counts["late"] += 1
            logger.debug("A late or second reply was dropped: %r", delivery)

    # --- in the hub: returned requests and losses

    def _on_return(self, reason: str, properties: Properties) -> None:
        """End a call whose request the broker has returned: it reached no queue."""
        self.counts["returned"] += 1
        call = self._pending.get(properties.correlation_id or "")
        if call is None:
            text = "The request of a call that has ended was returned (%s)."
            logger.info(text, reason, extra=counted())
            return
        connection, exchange, key = self._pair.publishing.current, *call.destination
        is_trusted = connection is None or connection.trusts(call.request.exchange)
        if not (is_trusted and self._pair.has_settled):
            call.end_try(NoRoute(exchange, key))
            return
        text = f"no queue is bound to key {key!r} of exchange {exchange!r}: is its server running?"
        call.fail(NO_ROUTE, text)

    def _on_failure(self, entries: list[PublishEntry], error: PostageError) -> None:
        """End calls whose requests the broker has refused, or their tries if they were lost."""
        lost = 0
        for entry in entries:
            id_, reply_to = entry.properties.correlation_id or "", entry.properties.reply_to
            call = self._pending.get(id_)
            if call is not None and reply_to is not None:
                self._end(call, error)
            elif reply_to is not None and isinstance(error, ChannelRefused):
                # The broker had handled those of calls that ended before their exchange was gone.
                lost += id_ in self._unwatched or not error.misses(entry.exchange, "exchange")
        if lost:
            text = "Requests that no call waits for (%d) were refused: %s"
            logger.warning(text, lost, error, extra=counted(type(error).__name__))

    def _end(self, call: PendingCall, error: PostageError) -> None:
        exchange, connection = call.request.exchange, self._pair.publishing.current
        if not isinstance(error, ChannelRefused):
            call.end_try(error)
        elif error.misses(exchange.name, "exchange"):
            if connection is not None:
                connection.note_missing(exchange)
            call.end_try(NoRoute(*call.destination))
        else:
            call.fail(type(error).__name__, error)

    def _on_leave(self) -> None:
        """Send further requests on the connection that takes the place of the present one."""
        self._connection = self._request_channel = None

    def _awaits(self, connection: Connection) -> bool:
        """Return whether replies to calls in flight are to come on *connection*."""
        for call in self._pending.values():
            own = call.own_queue
            is_direct = self._replies_directly if own is None else own.request_channel is not None
            if is_direct and call.way is connection:
                return True
        return False

    def _on_requests_lost(self, connection: Connection, error: PostageError) -> None:
        """End the tries on *connection*: the broker may or may not have read their requests."""
        if isinstance(error, ConnectionClosed) and connection is not self._connection:
            return  # it was left, and all of them were read
        for call in list(self._pending.values()):
            if call.way is connection:
                call.end_try(error)

    def _on_replies_lost(self, error: PostageError) -> None:
        """End the tries in flight whose replies would come on the shared queue."""
        if self._shared_queue is not None and self._shared_queue.alive:
            return  # it was that of a connection that was left
        for call in list(self._pending.values()):
            if call.own_queue is None:
                call.end_try(error)


def _fits(queue: ReplyQueue, connection: Connection) -> bool:
    """Return whether a request can be sent on *connection* if its reply shall come on *queue*."""
    own = queue.request_channel
    return own is None or (own.alive and own.transport is connection.transport)
