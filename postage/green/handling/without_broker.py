"""Handling one message that no broker has delivered: for tests, and for a look at a failed one.

The message passes the same functions as every other one: it is decoded, finds its handlers by the
route table, and gets to them through filters and hooks.  What needs a broker is left out: it is not
acknowledged, not tried again and not parked, its reply is kept instead of sent, and no deadline of
its caller ends it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any

import gevent

from postage.around import Handled
from postage.dispatch import Outcome, Reply, dispatch
from postage.green.amqp.delivery import NO_PROPERTIES, Delivery
from postage.green.amqp.properties import Properties
from postage.green.handling.watching import handled_of, watched
from postage.green.pool import HELD
from postage.green.rpc.replying import encoded_reply
from postage.green.rpc.serving import check_reply_to
from postage.recoverability import reason_for

__all__ = ["KeptReply", "handle_without_broker", "made_delivery", "users_part"]

TREE = "spawn_tree_locals"
"""The attribute in which gevent keeps what a greenlet shares with those that it spawns."""
POLL_INTERVAL = 0.005
"""Seconds between two looks for a reply that a handler has promised."""


def made_delivery(  # noqa: PLR0913 - a message has so many parts
    body: bytes,
    properties: Properties,
    *,
    queue: str,
    exchange: str,
    routing_key: str,
    redelivered: bool,
) -> Delivery:
    """Return a delivery that belongs to no channel, so that it can be handled and not settled."""
    delivery = Delivery("", 0, redelivered, exchange, routing_key, time.monotonic())
    delivery.header, delivery.body, delivery.origin = NO_PROPERTIES, body, queue
    delivery._properties = properties  # noqa: SLF001 - encoding could refuse what came from a broker
    return delivery


class KeptReply(Reply):
    """The reply function of a request without a caller: checks the reply, and keeps it."""

    __slots__ = ("_encoder", "header")

    def __init__(self, processor: Any, header: Properties) -> None:
        super().__init__(self._check, exposure=processor.expose_exceptions)
        self._encoder, self.header = processor.consumer.encoder, header

    def _check(self, result: Any) -> None:
        encoded_reply(self._encoder, self.header, result)  # raises what the handler would get


def handle_without_broker(processor: Any, delivery: Delivery, within: float = 5.0) -> Handled:
    """Run the handlers of *processor* for *delivery*, once, in this greenlet; return the result.

    *within*: the seconds to wait for a reply that a handler has promised by `Reply.later`.  Then
    raises AssertionError.  Raises the exception of a handler unchanged, with a traceback that
    begins in the user's code, and `MalformedMessage` for a body that is no message.  Switches if a
    handler does, and to wait for a promised reply.
    """
    __tracebackhide__ = True
    with _in_hand(processor, delivery):
        outcome = _outcome(processor, delivery)
        reply = outcome.reply
        if reply is not None and reply.deferred and not outcome.failures:
            _wait(reply, within)
    _, error = reason_for(outcome.failures)
    if error is not None:
        raise error.with_traceback(users_part(error.__traceback__))
    return handled_of(outcome)


@contextmanager
def _in_hand(processor: Any, delivery: Delivery) -> Iterator[None]:
    """Let this greenlet, and those that it spawns, handle *delivery*: see `handling.current`."""
    greenlet: Any = gevent.getcurrent()
    before = getattr(greenlet, TREE, None)
    setattr(greenlet, TREE, {HELD: (processor, delivery)})
    try:
        yield
    finally:
        if before is None:  # the main greenlet: what it spawned later would share an empty one
            delattr(greenlet, TREE)
        else:
            setattr(greenlet, TREE, before)


def _outcome(processor: Any, delivery: Delivery) -> Outcome:
    __tracebackhide__ = True
    body = processor._decoded(delivery)  # noqa: SLF001 - a handler may be called `decoded`
    found = processor._handlers_of(body)  # noqa: SLF001 - as above
    reply = None
    if body["category"] == "rpc":
        if processor.reply_to is not None:
            check_reply_to(processor, delivery.properties)
        reply = KeptReply(processor, delivery.properties)

    def handle() -> Outcome:
        return dispatch(body, found, reply=reply, answer_unknown=processor.answer_unknown)

    outcome = watched(processor, body, handle) if processor.around else handle()
    assert outcome is not None  # only the deadline of a caller drops a message
    return outcome


def _wait(reply: Reply, within: float) -> None:
    """Wait for a promised reply, which may come from another greenlet or native thread."""
    deadline = time.monotonic() + within
    while not reply.sent:
        if time.monotonic() > deadline:
            raise AssertionError(f"the handler promised a reply, and none came within {within} s")
        gevent.sleep(POLL_INTERVAL)


def users_part(traceback: TracebackType | None) -> TracebackType | None:
    """Return the part of *traceback* from the first function outside of Postage on; else all."""
    part = traceback
    while part is not None and _is_ours(part):
        part = part.tb_next
    return part or traceback


def _is_ours(part: TracebackType) -> bool:
    name = str(part.tb_frame.f_globals.get("__name__", ""))
    return name.partition(".")[0] == "postage"
