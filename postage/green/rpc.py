"""The calling side of RPC: one reply queue per pair, and who waits for which reply.

A call has a correlation id, and its replies find it by that.  Classic Postage (1.2.1) does not echo
the id, so nothing on a shared queue would tell whose its reply is.  Therefore the first call to a
destination gets a reply queue of its own; only when the answer has shown that the peer echoes the
id do further calls to it share the one queue.  A late reply never reaches another call either way.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import gevent
from gevent.event import AsyncResult

from postage.errors import (
    ChannelRefused,
    ConnectionFailed,
    ConnectionLost,
    OperationTimeout,
    PostageError,
)
from postage.exchange import Exchange
from postage.green.amqp.channel import Channel
from postage.green.amqp.delivery import Delivery
from postage.green.amqp.frames import Properties
from postage.green.amqp.pair import Pair
from postage.green.amqp.waiting import Lazy
from postage.message import MessageResultException

__all__ = ["Calls", "Request"]

logger = logging.getLogger(__name__)

UNCLAIMED_AFTER = 3_600_000
"""Milliseconds after which the broker drops a private reply queue that nobody reads."""


Destination = tuple[str, str]
"""Exchange and key: who answers there, and how, is learnt by calling."""


@dataclass(frozen=True)
class Request:
    """A call, encoded, and where it goes."""

    exchange: type[Exchange]
    key: str
    body: bytes
    content_type: str

    @property
    def destination(self) -> Destination:
        """What decides who answers."""
        return self.exchange.name, self.key


class CallFailed(Exception):
    """A call that ended without a reply; *result* is what its caller gets."""

    def __init__(self, name: str, text: str) -> None:
        super().__init__(name, text)
        self.result = MessageResultException(name, text)


@dataclass(eq=False)
class _Call:
    """One call in flight."""

    id: str
    request: Request
    answer: AsyncResult[Delivery] = field(default_factory=AsyncResult)
    own_queue: _OwnQueue | None = None
    """For the replies to all its tries, while nothing shows that the peer echoes the id."""
    shares: bool = False
    """Whether its reply may come on the shared queue."""

    def reply(self) -> Delivery:
        """Wait for the reply; raises `CallFailed` when there will be none.  Switches."""
        reply: Delivery = self.answer.get()  # type: ignore[assignment]  # never set to None
        return reply


class _ReplyQueue:
    """The queue on which the replies to many calls arrive."""

    def __init__(self, calls: Calls) -> None:
        self.channel = calls.reply_channel.get()
        self.name = self.channel.queue_declare("", exclusive=True, auto_delete=True)
        self.channel.consume(self.name, calls.on_reply, no_ack=True)

    @property
    def alive(self) -> bool:
        return self.channel.alive


class _OwnQueue:
    """The queue on which the replies to one call alone arrive."""

    def __init__(self, channel: Channel, on_reply: Callable[[Delivery], None]) -> None:
        self._channel = channel
        self.name = channel.queue_declare("", exclusive=True, auto_delete=True)
        self._tag = channel.consume(self.name, on_reply, no_ack=True)

    def close(self) -> None:
        """End it, as its call has ended; never switches."""
        self._channel.cancel_now(self._tag)


class Calls:
    """All calls of one pair.  `call` is for greenlets of its hub; the rest runs in the hub."""

    def __init__(self, pair: Pair) -> None:
        self._pair = pair
        self._pending: dict[str, _Call] = {}
        self._echoing: set[Destination] = set()  # whose calls share the reply queue
        self._silent: set[Destination] = set()  # whose replies came without an id: never share
        self._strays = 0  # calls that shared it, and ended without a reply
        self._request_channel: Channel | None = None
        self.reply_channel: Lazy[Channel] = Lazy(self._open_reply_channel)
        self._shared_queue: Lazy[_ReplyQueue] = Lazy(lambda: _ReplyQueue(self))
        self.counts: Counter[str] = Counter()
        """``late`` or second replies, ``unmatched`` ones without an id, ``returned`` requests."""
        pair.on_return.append(self._on_return)

    # --- for callers

    def call(
        self, request: Request, *, timeout: float, max_retry: int
    ) -> Delivery | MessageResultException:
        """Send *request* and return its reply, or the exception result that says why there is none.

        Switches greenlets.  Waits *timeout* seconds for each try, connecting and writing included;
        every try has the same correlation id, and expires in its queue when it is no more awaited.
        """
        call = _Call(self._pair.new_id(), request)
        self._pending[call.id] = call
        try:
            for _ in range(max_retry + 1):
                reply = self._attempt(call, timeout)
                if reply is not None:
                    return reply
            return MessageResultException(
                "TimeoutError", f"no reply within {timeout:g} s, {max_retry + 1} tries"
            )
        except CallFailed as exc:
            return exc.result
        except (ConnectionFailed, ConnectionLost) as exc:
            return MessageResultException("ConnectionLost", str(exc))
        except OperationTimeout as exc:
            return MessageResultException("TimeoutError", str(exc))
        finally:
            del self._pending[call.id]
            self._strays += call.shares and not call.answer.ready()
            if call.own_queue is not None:
                call.own_queue.close()

    def send_only(self, request: Request, *, timeout: float) -> str:
        """Send *request* and return the name of a new private queue for its reply; switches."""
        channel = self.reply_channel.get()
        arguments = {"x-expires": UNCLAIMED_AFTER}
        queue = channel.queue_declare("", exclusive=True, auto_delete=True, arguments=arguments)
        self._send(request, self._pair.new_id(), queue, timeout)
        return queue

    def collect(self, queue: str, count: int, *, timeout: float) -> tuple[list[Delivery], bool]:
        """Wait for *count* replies on *queue*, at most *timeout* seconds; switches.

        Returns those that came, and whether they are all.  The queue ends with this.
        """
        replies: list[Delivery] = []
        complete: AsyncResult[None] = AsyncResult()

        def take(delivery: Delivery) -> None:
            if len(replies) < count:
                replies.append(delivery)
            if len(replies) == count:
                complete.set()

        with self._pair.consuming.get().lease() as channel:
            channel.on_end.append(complete.set_exception)
            tag = channel.consume(queue, take, no_ack=True)
            try:
                complete.wait(timeout)
                if complete.ready():
                    complete.get()
            finally:
                channel.cancel_now(tag)
                channel.on_end.remove(complete.set_exception)
        return replies, len(replies) == count

    def _attempt(self, call: _Call, timeout: float) -> Delivery | None:
        """Send the call once and wait; None when *timeout* is over."""
        over = gevent.Timeout.start_new(timeout)
        try:
            if call.request.destination not in self._echoing:
                return self._attempt_alone(call, timeout)
            call.shares = True
            self._send(call.request, call.id, self._shared_queue.get().name, timeout)
            return call.reply()
        except gevent.Timeout as exc:
            if exc is not over:
                raise  # the caller's own
            return None
        finally:
            over.close()

    def _attempt_alone(self, call: _Call, timeout: float) -> Delivery:
        """Send the call with a reply queue of its own; its destination is unknown or classic."""
        if call.own_queue is None:
            call.own_queue = _OwnQueue(self.reply_channel.get(), partial(self._settle_own, call))
        self._send(call.request, call.id, call.own_queue.name, timeout)
        reply = call.reply()
        self._learn(call, reply)
        return reply

    def _learn(self, call: _Call, reply: Delivery) -> None:
        """Note whether who answers at the destination of *call* echoes the correlation id."""
        destination = call.request.destination
        if reply.properties.correlation_id != call.id:
            self._silent.add(destination)
            self._echoing.discard(destination)
        elif destination not in self._silent:
            self._echoing.add(destination)

    def _send(self, request: Request, id_: str, reply_to: str, timeout: float) -> None:
        connection = self._pair.publishing.get()
        connection.declare(request.exchange)
        channel = connection.calling.get()
        if channel is not self._request_channel:
            self._request_channel = channel
            channel.on_end.append(self._on_end)
        properties = Properties(
            content_type=request.content_type,
            correlation_id=id_,
            reply_to=reply_to,
            expiration=str(int(timeout * 1000)),
        )
        channel.publish(
            request.exchange.name, request.key, properties, request.body, mandatory=True
        )

    # --- in the hub

    def on_reply(self, delivery: Delivery) -> None:
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
        calls = [each for each in self._pending.values() if each.shares]
        for call in calls:
            self._learn(call, delivery)
        if len(calls) == 1 and not self._strays:
            self._settle(calls[0], delivery)
            return
        self.counts["unmatched"] += 1
        logger.warning("A reply without correlation id was dropped; its call will be sent again.")

    def _settle_own(self, call: _Call, delivery: Delivery) -> None:
        """Take a reply from a call's own queue: it says the call's id, or none at all."""
        is_its = delivery.properties.correlation_id in (None, call.id)
        self._settle(call if is_its else None, delivery)

    def _settle(self, call: _Call | None, delivery: Delivery) -> None:
        """Give *call* its reply, unless nobody waits for one, or it has come already."""
        if call is None or call.answer.ready():
            self.counts["late"] += 1
            logger.debug("A reply came late, or twice, and was dropped: %r", delivery)
        else:
            call.answer.set(delivery)

    def _on_return(self, reason: str, properties: Properties) -> None:
        self.counts["returned"] += 1
        call = self._pending.get(properties.correlation_id or "")
        if call is not None:
            exchange, key = call.request.destination
            text = (
                f"no queue is bound to key {key!r} of exchange {exchange!r}: is its server running?"
            )
            call.answer.set_exception(CallFailed("NoRoute", text))
        else:
            logger.info("A call came back (%s), and nobody waits for it.", reason)

    def _open_reply_channel(self) -> Channel:
        channel = self._pair.consuming.get().open_channel()
        channel.on_end.append(self._on_end)
        return channel

    def _on_end(self, error: PostageError) -> None:
        """A channel for requests or replies is gone, and with it the answers to what is pending."""
        for call in [each for each in self._pending.values() if not each.answer.ready()]:
            name, exchange = "ConnectionLost", call.request.exchange
            if isinstance(error, ChannelRefused) and error.misses(exchange.name):
                name = "NoRoute"
                self._forget(exchange)
            call.answer.set_exception(CallFailed(name, str(error)))

    def _forget(self, exchange: type[Exchange]) -> None:
        connection = self._pair.publishing.current
        if connection is not None:
            connection.forget(exchange)
