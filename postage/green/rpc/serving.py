"""RPC from the server's side.

How it works
------------
A request is a message of category ``rpc`` with these properties: ``reply_to``, the queue on which
its caller waits; ``correlation_id``, which the reply returns, so that the caller knows which of its
calls the reply is for; ``expiration``, the milliseconds that the caller waits.  For each request:

1. If it names a reply queue that its processor does not allow (``reply_to``), reject it.
2. If its ``type`` asks for a receipt, send one at once: see `peers`.
3. If its caller has stopped waiting meanwhile, drop it.
4. Run its handler.  Until the reply is sent, calls that the handler makes end by the deadline of
   its own caller.
5. Send exactly one reply: the result of the handler, or an exception result with the reason why
   there is none.  `postage.dispatch` chooses it.

If the caller no longer exists, the reply is counted and dropped.  If the connection is lost, a
reply waits for the next one, but no longer than its caller, and not at all when the processor
stops: the caller either sends its request again or has stopped waiting.

A request that is rejected because it is malformed is answered, too: all that this takes is in its
properties.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Protocol

import gevent

from postage import deadline
from postage.addressing import matches_any
from postage.callables import close_unrun
from postage.deadline import Deadline
from postage.dispatch import Bound, Outcome, Reply, disclosed, dispatch
from postage.encoding import JsonEncoder
from postage.errors import MalformedMessage, PostageError
from postage.green.amqp.delivery import Delivery
from postage.green.amqp.hub_logging import HubLogger
from postage.green.amqp.properties import Properties
from postage.green.rpc.peers import RECEIPT
from postage.green.rpc.replying import encoded_reply, send_receipt
from postage.green.runtime import runtime_of
from postage.log_records import counted, place_of
from postage.message import MessageResult, MessageResultException

__all__ = ["check_reply_to", "refuse", "serve"]

logger = HubLogger(__name__)

SECOND_THOUGHTS = 0.1
"""Seconds for another reply, after one that cannot be encoded.  The code that gets the error may
run in another native thread, which has to wait for its turn."""


class RpcServer(Protocol):
    """What serving needs of a processor."""

    answer_unknown: bool
    reply_to: Sequence[str] | None
    expose_exceptions: str
    counts: Counter[str]

    @property
    def consumer(self) -> Any:
        """The `GenericConsumer` that the request came to; that module imports this one."""


class RequestReply(Reply):
    """The reply function of a request.  Closures for `Reply` would be a cycle for each request."""

    __slots__ = ("_deadline", "_server", "header")

    def __init__(self, server: RpcServer, header: Properties, limit: Deadline | None) -> None:
        self._server, self.header, self._deadline = server, header, limit
        self.exposure = server.expose_exceptions
        self.result, self.sent, self.deferred = None, False, False

    def _deliver(self, result: Any) -> None:
        server = self._server
        try:
            server.consumer.reply(self.header, result, self._deadline)
        except Exception as exc:  # an encoder of users may raise anything
            if not isinstance(exc, PostageError) or isinstance(exc, ValueError):
                # The result cannot be encoded: an error of the handler, sent to its caller.
                door = server.consumer.door
                if self.deferred and door is not None:
                    door.call(self._report_unsent, result, exc)
                raise
            server.counts["lost_reply"] += 1
            logger.warning("A reply was lost: %s", exc, extra=counted(type(exc).__name__))

    def _count_second(self) -> None:
        self._server.counts["second_reply"] += 1

    def _report_unsent(self, result: Any, error: Exception) -> None:
        """Tell the caller that *result*, which was to be sent after the handler, cannot be sent.

        Called in the hub's thread.  The code that gave *result*, in whatever thread, has a moment
        to give another one.
        """
        gevent.sleep(SECOND_THOUGHTS)
        if not self.sent:
            self.sent = True
            close_unrun(result.value if isinstance(result, MessageResult) else result)
            consumer = self._server.consumer
            refusal = encoded_reply(consumer.encoder, self.header, _told(self._server, error))
            consumer.send_reply(refusal, self._deadline)


def serve(
    server: RpcServer, delivery: Delivery, body: dict[str, Any], found: Sequence[Bound]
) -> Outcome | None:
    """Handle a request and reply to it; return the outcome, or None if it was dropped.

    *found* are its handlers.  Switches if they do.  Raises `MalformedMessage` if the request names
    a reply queue that is not allowed.
    """
    properties = delivery.properties
    if server.reply_to is not None:
        check_reply_to(server, properties)
    if properties.type == RECEIPT:
        send_receipt(runtime_of(server.consumer.settings).pair, properties)
    limit = None
    if properties.expiration is not None:
        limit = Deadline.of(properties.expiration, delivery.received)
        if limit.expired:
            _count_expired(server)
            return None

    reply = RequestReply(server, properties, limit)
    before = deadline.begin(limit)
    try:
        return dispatch(
            body, found, arrived=delivery, reply=reply, answer_unknown=server.answer_unknown
        )
    finally:
        deadline.end(before)


def _count_expired(server: RpcServer) -> None:
    server.counts["expired"] += 1
    text, sort = "%r drops requests whose callers have given up.", counted(id(server))
    logger.info(text, server, extra=sort)


def _may_answer(server: RpcServer, properties: Properties) -> bool:
    """Tell whether a request with these properties may be answered, or asks for no answer."""
    queue, patterns = properties.reply_to, server.reply_to
    return not queue or patterns is None or matches_any(queue, patterns)


def check_reply_to(server: RpcServer, properties: Properties) -> None:
    """Raise `MalformedMessage` if a request names a reply queue that *server* does not allow."""
    if not _may_answer(server, properties):
        raise MalformedMessage(
            f"its reply_to {properties.reply_to!r} is not among the queues that may get replies: "
            f"see reply_to of the processor class"
        )


def _told(server: RpcServer, error: Exception) -> MessageResultException:
    """Return what a caller gets instead of a result; log *error* if that is only its id."""
    result, id_ = disclosed(error, server.expose_exceptions)
    if id_:
        text, sort = "%r: a caller was told the error id %s.", counted(*place_of(error))
        logger.error(text, server, id_, exc_info=error, extra=sort)
    return result


def refuse(server: RpcServer, delivery: Delivery, error: Exception) -> None:
    """Tell the caller of a request that is rejected unhandled why, if it still waits.

    Does nothing for a message without ``reply_to``.  Switches and waits as a reply does.
    """
    try:
        properties = delivery.properties
        if properties.reply_to and _may_answer(server, properties):
            _refuse(server, delivery, properties, error)
    except Exception:  # the properties may be malformed as well
        logger.debug("A request that was rejected could not be answered.", exc_info=True)


def _refuse(
    server: RpcServer, delivery: Delivery, properties: Properties, error: Exception
) -> None:
    limit = None
    if properties.expiration is not None:
        limit = Deadline.of(properties.expiration, delivery.received)
        if limit.expired:
            return
    encoder = server.consumer.encoder
    if properties.content_type != encoder.content_type:
        encoder = JsonEncoder()  # which callers with another encoder understand best
    result = _told(server, error)
    server.consumer.send_reply(encoded_reply(encoder, properties, result), limit)
