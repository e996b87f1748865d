"""The calling side of RPC: a call is sent, and sent again, until it has exactly one outcome."""

from __future__ import annotations

import logging
from collections import Counter

import gevent.lock

from postage import deadline
from postage.errors import (
    ChannelRefused,
    ConnectionClosed,
    ConnectionFailed,
    ConnectionLost,
    OperationTimeout,
    PostageError,
)
from postage.exchange import Exchange
from postage.green.amqp.channel import Channel
from postage.green.amqp.connection import Connection
from postage.green.amqp.delivery import Delivery
from postage.green.amqp.frames import Properties, PropertiesTemplate
from postage.green.amqp.pair import Pair
from postage.green.amqp.waiting import SharedResource
from postage.green.pipelining import AT_ONCE
from postage.green.retry import CallBudget, expiration
from postage.green.rpc.peers import RECEIPT, Echoes, Scouts
from postage.green.rpc.pending import CallRequest, Outcome, PendingCall
from postage.green.rpc.replies import ReplyQueue, private_queue
from postage.message import CONNECTION_LOST, NO_ROUTE, TIMEOUT, MessageResultException

__all__ = ["Calls"]

logger = logging.getLogger(__name__)

_TEMPLATE = PropertiesTemplate("correlation_id", "content_type", "reply_to", "expiration")


class Calls:
    """All calls of one pair.  `call` is for greenlets of its hub; the rest runs in the hub."""

    def __init__(self, pair: Pair) -> None:
        self._pair = pair
        self._pending: dict[str, PendingCall] = {}
        self._echoes, self._scouts = Echoes(), Scouts()
        self._strays = 0  # calls that shared the reply queue, and ended without a reply
        self._shared_tries = 0
        self._mixed = 0  # how many of those there were when a reply could be anybody's
        # Of ten thousand at once, none would have its consumer before all had their queues: late.
        self._making = gevent.lock.BoundedSemaphore(AT_ONCE)
        self._request_channel: Channel | None = None
        self._reply_channel: SharedResource[Channel] = SharedResource(self._open_reply_channel)
        self._shared_queue: SharedResource[ReplyQueue] = SharedResource(self._make_shared_queue)
        self.counts: Counter[str] = Counter()
        """``late`` or second replies, ``unmatched`` ones without an id, ``returned`` requests,
        ``repeated`` ones, which were sent once more."""
        pair.on_return.append(self._on_return)

    def __len__(self) -> int:
        """Return how many calls are in flight."""
        return len(self._pending)

    # --- for callers

    def call(self, request: CallRequest, *, timeout: float, max_retry: int) -> Outcome:
        """Send *request* and return its reply, or the exception result that says why there is none.

        Switches greenlets.  Ends within ``timeout * (max_retry + 1)`` seconds, and before the
        deadline of the request that the calling greenlet handles; that covers connecting, writing,
        waiting and all tries.  A try is sent again when it has waited *timeout* seconds, or when
        its connection, channel or reply queue is lost; all have the same correlation id, and each
        expires in its queue when it is no more awaited.
        """
        budget = CallBudget(timeout, max_retry + 1, deadline.remaining())
        call = PendingCall(self._pair.new_id(), request)
        self._pending[call.id] = call
        try:
            while call.outcome is None and not budget.expired:
                self._try(call, budget)
            # An exception result is false, but it is an outcome.
            return self._given_up(call, budget) if call.outcome is None else call.outcome
        finally:
            del self._pending[call.id]
            self._strays += call.shares and not isinstance(call.outcome, Delivery)
            if call.is_scout:
                self._scouts.come_back(request.destination)
            if call.own_queue is not None:
                call.own_queue.close()
                call.own_queue = None  # it knows the call: a cycle for the garbage collector

    def send_only(self, request: CallRequest, *, timeout: float) -> str:
        """Send *request* and return the name of a new private queue for its reply; switches."""
        queue = private_queue(self._reply_channel.get())
        channel = self._requesting(request.exchange, timeout).calling.get()
        self._write(channel, request, self._pair.new_id(), queue, timeout)
        return queue

    # --- one try

    def _try(self, call: PendingCall, budget: CallBudget) -> None:
        """Send the call and wait for what becomes of it; or have ready what that takes."""
        route = self._ready(call)
        if route is None:
            self._prepare(call, budget)
            return
        channel, queue = route
        seconds = budget.start_try()
        if budget.used > 1:
            self.counts["repeated"] += 1
        shares = queue is not call.own_queue
        self._shared_tries += shares
        call.begin_try(shares=shares)
        self._write(channel, call.request, call.id, queue.name, seconds, scouts=call.is_scout)
        call.wait(seconds)
        if call.outcome is None:
            self._missed(call)

    def _missed(self, call: PendingCall) -> None:
        """A try ended without an outcome."""
        if call.loss is None:
            self._renew_requests()
        elif isinstance(call.loss, ConnectionClosed):
            call.fail(CONNECTION_LOST, call.loss)

    def _renew_requests(self) -> None:
        """Send on another channel from now on: what this one sends may go nowhere."""
        connection = self._pair.publishing.current
        if connection is None:
            return
        retired = connection.replace_channel(connection.calling)
        if retired is not None and retired is self._request_channel:
            # What it has written is on its way, and can only be lost with the connection.
            retired.on_end.remove(self._on_requests_lost)
            self._request_channel = None
            if self._on_requests_lost not in connection.on_end:
                connection.on_end.append(self._on_requests_lost)

    def _ready(self, call: PendingCall) -> tuple[Channel, ReplyQueue] | None:
        """Return what takes *call* and its reply, where all is there: nearly always."""
        connection = self._pair.publishing.current
        if connection is None or not connection.has_declared(call.request.exchange):
            return None
        if self._pair.declaring:  # its queue may be among them
            return None
        channel, queue = connection.calling.current, self._queue_of(call)
        if channel is not self._request_channel or channel is None or queue is None:
            return None
        return (channel, queue) if connection.takes_data else None

    def _prepare(self, call: PendingCall, budget: CallBudget) -> None:
        """Have ready what there is not, while *call* has time, and no outcome; switches.

        Waits through reconnects and alarms.  To be late here is no try: nothing was sent.
        """
        try:
            with call.news.within(budget.remaining):
                self._pair.wait_declared(budget.remaining)
                connection = self._requesting(call.request.exchange, budget.remaining)
                self._have_queue_of(call)
                connection.wait_writable(budget.remaining)
        except ConnectionClosed as exc:
            call.fail(CONNECTION_LOST, exc)
        except (ConnectionFailed, ConnectionLost, OperationTimeout) as exc:
            self._note(exc, call)
            pause = budget.next_pause()
            call.news.wait(budget.remaining if pause is None else pause)

    def _note(self, error: PostageError, call: PendingCall) -> None:
        """Have *call* go on after *error*, unless there never was a broker."""
        call.loss = error
        if isinstance(error, ConnectionFailed) and not self._pair.was_connected:
            call.fail(CONNECTION_LOST, error)

    def _requesting(self, exchange: type[Exchange], limit: float) -> Connection:
        """Return the connection for requests, with *exchange* declared and its channel open."""
        connection = self._pair.publishing.get(limit)
        connection.declare(exchange)
        channel = connection.calling.get()
        if channel is not self._request_channel:
            self._request_channel = channel
            channel.on_end.append(self._on_requests_lost)
        return connection

    def _write(  # noqa: PLR0913 - one for each property
        self,
        channel: Channel,
        request: CallRequest,
        id_: str,
        reply_to: str,
        seconds: float,
        *,
        scouts: bool = False,
    ) -> None:
        properties = _TEMPLATE.render(id_, request.content_type, reply_to, expiration(seconds))
        if scouts:
            properties.type = RECEIPT
        to = request.exchange.name, request.key
        channel.publish(*to, properties, request.body, mandatory=True, limit=seconds)

    # --- reply queues

    def _queue_of(self, call: PendingCall) -> ReplyQueue | None:
        """Return the queue for the reply to *call*: the shared one where the peer echoes the id."""
        own = call.own_queue
        if own is not None:
            return own if own.alive else None
        return self._shared_queue.current if call.request.destination in self._echoes else None

    def _have_queue_of(self, call: PendingCall) -> None:
        own, destination = call.own_queue, call.request.destination
        if own is None and destination in self._echoes:
            self._shared_queue.get()
        elif own is None and self._may_wait(call):
            call.has_waited = True
            self._shared_queue.get()  # it is most likely to be wanted
            self._scouts.wait(destination)
        elif own is None or not own.alive:
            with self._making:
                channel = self._reply_channel.get()
                call.own_queue = ReplyQueue(
                    channel, lambda d: self._on_own_reply(call, d), call.lose
                )

    def _may_wait(self, call: PendingCall) -> bool:
        """Tell whether another call finds out what *call* must know; if not, it may be the one."""
        destination = call.request.destination
        if call.is_scout or call.has_waited or self._echoes.is_known(destination):
            return False
        call.is_scout = self._scouts.leave(destination)
        return not call.is_scout

    def _make_shared_queue(self) -> ReplyQueue:
        self._strays = 0
        return ReplyQueue(self._reply_channel.get(), self._on_reply, self._on_replies_lost)

    def _open_reply_channel(self) -> Channel:
        return self._pair.consuming.get().open_channel()

    # --- no outcome

    def _given_up(self, call: PendingCall, budget: CallBudget) -> MessageResultException:
        """Return the result of a call that has no outcome, and no try or no time left."""
        # The time of the call and that of its wait for a connection end together, in any order.
        loss = call.loss if budget.used else call.loss or self._pair.publishing.trouble
        if loss is not None:
            is_late = isinstance(loss, OperationTimeout)
            name = TIMEOUT if is_late else CONNECTION_LOST
            return MessageResultException(name, str(loss))
        if budget.exhausted:
            text = f"no reply within {budget.timeout:g} s, {budget.tries} tries"
        elif budget.used:
            text = f"no reply within {budget.total:.3g} s, {budget.used} tries"
        else:
            text = f"it could not be sent within {budget.total:.3g} s: {self._obstacle()}"
        return MessageResultException(TIMEOUT, text)

    def _obstacle(self) -> str:
        connection = self._pair.publishing.current
        if not deadline.remaining():
            return "nobody awaits the request any more that is being handled here"
        if connection is None:
            return "there was no connection to the broker"
        if connection.blocked is not None:
            return f"the broker takes no publishes now ({connection.blocked})"
        return "the broker did not answer"

    # --- in the hub: replies

    def _on_reply(self, delivery: Delivery) -> None:
        """Hand a reply from the shared queue to its caller."""
        id_ = delivery.properties.correlation_id
        if id_ is None:
            self._match(delivery)
        else:
            self._settle(self._pending.get(id_), delivery)

    def _match(self, delivery: Delivery) -> None:
        """Find the call of a shared reply without an id: a classic server has joined the others.

        With one call on the queue, and none that left it unanswered, it can only be that one's.
        Else nothing says whose it is, and it must be sent again; but none of them shares any more.
        """
        call = self._only_sharer()
        if call is not None:
            self._settle(call, delivery)
            return
        self.counts["unmatched"] += 1
        level = logging.WARNING if self.counts["unmatched"] == 1 else logging.DEBUG
        logger.log(level, "A reply without correlation id was dropped; its call is sent again.")

    def _only_sharer(self) -> PendingCall | None:
        """Return the only call whose reply may come on the shared queue, if there is one.

        Takes note that none of those who are called there echoes.  Where there are several calls,
        they are looked through once, and not again for each of their replies.
        """
        if self._mixed == self._shared_tries:
            return None
        calls = [each for each in self._pending.values() if each.shares]
        for call in calls:
            self._echoes.learn(call.request.destination, echoes=False)
        if len(calls) == 1 and not self._strays:
            return calls[0]
        self._mixed = self._shared_tries
        return None

    def _on_own_reply(self, call: PendingCall, delivery: Delivery) -> None:
        """Take a reply from a call's own queue: it says the call's id, or none at all."""
        id_, destination = delivery.properties.correlation_id, call.request.destination
        self._echoes.learn(destination, echoes=id_ == call.id)
        if delivery.properties.type == RECEIPT:
            self._scouts.come_back(destination)
        else:
            self._settle(call if id_ in (None, call.id) else None, delivery)

    def _settle(self, call: PendingCall | None, delivery: Delivery) -> None:
        """Give *call* its reply, unless nobody waits for one, or it has an outcome already."""
        if call is None or not call.settle(delivery):
            self.counts["late"] += 1
            logger.debug("A reply came late, or twice, and was dropped: %r", delivery)

    # --- in the hub: what ends without a reply

    def _on_return(self, reason: str, properties: Properties) -> None:
        self.counts["returned"] += 1
        call = self._pending.get(properties.correlation_id or "")
        if call is None:
            logger.info("A call came back (%s), and nobody waits for it.", reason)
            return
        exchange, key = call.request.destination
        text = f"no queue is bound to key {key!r} of exchange {exchange!r}: is its server running?"
        call.fail(NO_ROUTE, text)

    def _on_requests_lost(self, error: PostageError) -> None:
        """The channel for requests is gone; whether the broker has read them, nobody knows."""
        for call in list(self._pending.values()):
            exchange = call.request.exchange
            if isinstance(error, ChannelRefused) and error.misses(exchange.name):
                self._forget(exchange)
                call.fail(NO_ROUTE, error)
            else:
                call.lose(error)

    def _on_replies_lost(self, error: PostageError) -> None:
        for call in list(self._pending.values()):
            if call.own_queue is None:  # else it has shared no more since its last try
                call.lose(error)

    def _forget(self, exchange: type[Exchange]) -> None:
        connection = self._pair.publishing.current
        if connection is not None:
            connection.discard_declaration(exchange)
