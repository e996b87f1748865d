"""Puts messages that failed where the broker keeps them: in a delay queue, or a parking queue.

How it works
------------
A copy of the message is published with confirm, and only then is the message acknowledged.  So at
each moment the broker has it, at worst twice.

**Later.**  The headers exchange `Delays` leads to one queue for each of `DELAY_STEPS`, which all
processors of a virtual host share.  Nobody consumes from these queues: when a message has waited
for the queue's time to live, the broker sends it to the queue that its routing key names (see
`way_back`).  All of them are quorum queues, because only these can hand on a message *at least
once*: a delay queue keeps the message until the other queue has it.  A classic queue drops the
message as it sends it, so a broker that is killed then loses it (RabbitMQ, "Safety" of dead letter
exchanges).

Delay queues have no ``x-expires``, because a quorum queue that expires is deleted with the messages
in it.  Neither a publish nor another declaration counts as use of a quorum queue, and RabbitMQ 4.3
also counts the time for which it was down.  (All this was measured on 3.10 and 4.3.  For a classic
queue a declaration counts as use, and the time begins again when the broker starts.)  A program
cannot delete a delay queue safely either, because quorum queues refuse ``if-empty``.  So delay
queues stay: a few for each virtual host.

**Parked.**  The copy is published to the parking queue by its name.

Both kinds of queue are declared by the first message that finds none.  Each has a channel of its
own (`Connection.keeping`), so a queue that does not answer holds up only what goes into it.

Young queues
------------
RabbitMQ writes the name of a quorum queue to disk up to a second after it has declared the queue
(ra, ``names.dets``).  If it is killed before that, the queue is empty when it starts again: also
confirmed messages are lost.  (Measured on 3.10.8 and 4.3.6: after 0.6 s they were gone, after 1 s
they were there.)  So what goes into a quorum queue that this process has just declared is
acknowledged only when the queue is `YOUNG` seconds old.

On 3.10 such a queue has no leader either.  It answers the first message of each channel with a
nack, after 65 s.  Then the delay queue that is next in length takes its place.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import gevent

from postage.addressing import Headers
from postage.copies import AGAIN
from postage.errors import (
    ChannelRefused,
    ConnectionClosed,
    MalformedMessage,
    NoRoute,
    NotAcknowledged,
    PublishFailed,
)
from postage.exchange import Exchange
from postage.green.amqp.channel import Channel
from postage.green.amqp.connection import Connection
from postage.green.amqp.declared_queues import declare_queue, silence_reported
from postage.green.amqp.delivery import Delivery
from postage.green.amqp.hub_logging import HubLogger
from postage.green.amqp.properties import Properties, encoded_fields, encoded_table
from postage.green.amqp.waiting import SharedResource
from postage.green.handling.way_back import Due, bind_to_due, declare_way_back, handing_on
from postage.green.publishing import publish_patiently
from postage.green.runtime import Runtime
from postage.green.topology import QueueDeclaration
from postage.log_records import counted
from postage.protocol import OWN_HEADERS, SEND_ID
from postage.queues import DELIVERY_LIMIT
from postage.recoverability import TEXT, TRACEBACK, delay_steps, encodable

__all__ = ["NOT_COPIED", "Delays", "Parking", "copied_properties"]

logger = HubLogger(__name__)

LIMIT = 5.0
"""Seconds within which a publish is tried again at once; then the caller pauses, and says so.  The
answer of the broker is awaited without a limit: a publish that we gave up would leave one copy of
the message for each try, if a broker that was stuck went on."""
SLOW = 10.0
"""Seconds without an answer of a queue after which the log says so."""
YOUNG = 2.0
"""Seconds for which RabbitMQ may forget a quorum queue that it has declared."""
REFUSING = 600.0
"""Seconds for which a delay queue is left alone that has refused a message."""
MAX_PARKED = 1 << 26
"""Bytes of a parking queue that we declare; beyond that its oldest messages go.  Otherwise whoever
may publish to a queue could fill the broker with messages that are wrong, for good."""
SPARE = 500
"""Bytes of a frame that the properties of a copy leave free; the frame has a beginning, too."""
SELECTED = "postage-delay"
"""The header by which `Delays` chooses a queue.  It passes over headers that begin with ``x-``."""


class _ByQueue(Exchange):
    """The default exchange, to which every queue is bound by its name."""

    name = ""


class Delays(Exchange):
    """Leads to the delay queues; goes with the last one of them."""

    name = "postage.delay"
    exchange_type = "headers"
    auto_delete = True


class Parking:
    """Puts failed messages into delay queues and parking queues; for one runtime."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._queues: dict[str, QueueDeclaration] = {}
        self._bound: dict[str, float] = {}  # when the consumers of queues that are bound started

    def delay(
        self, delivery: Delivery, queue: QueueDeclaration, headers: Mapping[str, Any], delay: float
    ) -> None:
        """Let the broker bring a copy of *delivery* to *queue* after *delay* seconds; switches.

        Raises what `publish_patiently` does; then the caller still has the message.
        """
        self._bind(queue)
        queues = [self._delay_queue(step) for step in delay_steps(delay)]
        since = time.monotonic() - REFUSING
        queues = [each for each in queues if not self._has_refused(each.name, since)] or queues[:1]
        for kept_in in queues:
            headers = {**headers, SELECTED: kept_in.name.removeprefix(f"{Delays.name}.")}
            try:
                self._put(Delays, queue.name, delivery, headers, kept_in)
            except NotAcknowledged:
                if kept_in is queues[-1]:
                    raise
            else:
                return

    def _bind(self, queue: QueueDeclaration) -> None:
        """Bind *queue* to `Due`, once for each of its consumers: it may be a new queue then.

        A refusal is only logged, because the messages come back nevertheless.
        """
        if self._bound.get(queue.name) == queue.consuming_since:
            return
        self._bound[queue.name] = queue.consuming_since
        # Only the connection that consumes may bind an exclusive queue.
        consuming = self._runtime.pair.consuming
        try:
            with self._runtime.declare_gate.acquire():
                consuming.carry_out(partial(bind_to_due, queue=queue.name))
        except ChannelRefused as exc:
            text = "Queue %r is not bound to %r, so deleted queues may hold up what is delayed: %s"
            logger.warning(text, queue.name, Due.name, exc, extra=counted(queue.name))

    def _delay_queue(self, step: int) -> QueueDeclaration:
        selected = f"{step / 1000:g}s"
        queue = self._queue(f"{Delays.name}.{selected}", handing_on(step, Due))
        queue.bindings[Delays, Headers({SELECTED: selected})] = None
        return queue

    def park(self, delivery: Delivery, queue: str, type_: str, headers: Mapping[str, Any]) -> None:
        """Put a copy of *delivery* with *headers* into the parking queue *queue*; switches.

        Raises what `publish_patiently` does; then the caller still has the message.
        """
        arguments = {"x-queue-type": type_, "x-max-length-bytes": MAX_PARKED}
        if type_ == "quorum":
            # Otherwise the broker would drop a message that is looked at often.
            arguments[DELIVERY_LIMIT] = -1
        self._put(_ByQueue, queue, delivery, headers, self._queue(queue, arguments))

    def _queue(self, name: str, arguments: dict[str, Any]) -> QueueDeclaration:
        """Return the declaration of the queue *name*, always the same one."""
        if name not in self._queues:
            flags = {"durable": True, "arguments": arguments}
            self._queues[name] = QueueDeclaration(name, name, flags, limit_may_miss=True)
        return self._queues[name]

    def _properties(self, delivery: Delivery, headers: Mapping[str, Any]) -> Properties:
        pair = self._runtime.pair
        # A return is found by this id: that of the message may be missing, or not the only one.
        ours = {**headers, SEND_ID: pair.new_id()}
        return copied_properties(delivery, ours, pair.publishing.get().codec.frame_max - SPARE)

    def _put(
        self,
        exchange: type[Exchange],
        key: str,
        delivery: Delivery,
        headers: Mapping[str, Any],
        queue: QueueDeclaration,
    ) -> None:
        """Publish with confirm; declare *queue*, and publish again, if it is missing."""

        def choose(connection: Connection) -> SharedResource[Channel]:
            channel = delivery.channel
            if not channel.alive and not channel.withdrawn:
                # The broker delivers the message again, so a copy would be one too many.  (What it
                # has withdrawn after a timeout is known to this process when it comes again.)
                raise ConnectionClosed("the channel of the message has ended")
            return connection.keeping(queue.name)

        message = exchange, key, self._properties(delivery, headers), delivery.body, True
        put = partial(publish_patiently, self._runtime.pair, message, limit=LIMIT, choose=choose)
        with silence_reported(queue, SLOW), self._turn(queue.name):
            try:
                put()
            except NoRoute:
                self._declare(queue)
                put()
            except PublishFailed as exc:
                if isinstance(exc.__cause__, NotAcknowledged):
                    self._runtime.refused_at[queue.name] = time.monotonic()
                    raise NotAcknowledged(str(exc), exchange=exc.exchange, key=exc.key) from exc
                raise
        self._let_age(queue.name)

    @contextmanager
    def _turn(self, queue: str) -> Iterator[None]:
        """Let the block run; until *queue* has confirmed a message on its channel, one at a time.

        A channel of RabbitMQ 3.10 that publishes to a quorum queue without a leader waits for 65 s,
        and then refuses the message (``rabbit_fifo_client:enqueue``).  It would do that with each
        message that stands behind, one after the other, and nothing can take these back.

        Raises `NotAcknowledged` if the queue refuses the message before.
        """
        began = time.monotonic()
        if not self._is_proven(queue):
            with self._runtime.first_in[queue]:
                if self._has_refused(queue, began):
                    raise NotAcknowledged(f"queue {queue!r} has refused the message before")
                if not self._is_proven(queue):
                    yield
                    return
        yield

    def _has_refused(self, queue: str, since: float) -> bool:
        return self._runtime.refused_at.get(queue, -math.inf) > since

    def _is_proven(self, queue: str) -> bool:
        connection = self._runtime.pair.publishing.current
        channel = None if connection is None else connection.keeping(queue).current
        return channel is not None and channel.is_proven

    def _declare(self, queue: QueueDeclaration) -> None:
        with self._runtime.declare_gate.acquire():
            self._runtime.pair.publishing.carry_out(partial(_declare_on, queue=replace(queue)))
        connection = self._runtime.pair.publishing.current
        is_quorum = queue.flags["arguments"]["x-queue-type"] == "quorum"
        if is_quorum and connection is not None and connection.keeps_on_disk:
            self._runtime.declared_at[queue.name] = time.monotonic()

    def _let_age(self, queue: str) -> None:
        """Wait until RabbitMQ cannot forget *queue*."""
        declared_at = self._runtime.declared_at
        if queue in declared_at:
            gevent.sleep(max(0.0, declared_at[queue] + YOUNG - time.monotonic()))
            declared_at.pop(queue, None)


def _declare_on(connection: Connection, queue: QueueDeclaration) -> None:
    # Delays goes with its last queue.  Finding it missing would take seconds, for which a
    # connection waits for the owners of other bindings; those of Delays are made with each queue.
    connection.discard_declaration(Delays)
    if any(exchange is Delays for exchange, _ in queue.bindings):
        declare_way_back(connection)
    declare_queue(connection, queue)


# --- the properties of a copy

NOT_COPIED = frozenset(
    {
        *("x-death", "x-delivery-count", "x-acquired-count", "x-stream-offset"),
        *(
            f"x-{which}-death-{what}"
            for which in ("first", "last")
            for what in ("exchange", "queue", "reason")
        ),
        *("CC", "BCC", SELECTED),
    }
)
"""The headers that the broker has written for a delivery, and those that would make it send more
copies."""


def copied_properties(delivery: Delivery, ours: Mapping[str, Any], room: int) -> Properties:
    """Return the properties of *delivery* for a copy that has our headers *ours*, too.

    A copy has no ``expiration``, with which it would vanish, and no ``user_id``, which the broker
    would compare with our own user: both go into headers.  If the properties have more than *room*
    bytes, or cannot be encoded again, something is left out: first our traceback, then the headers
    of the sender, then the text of our exception and all properties of the sender.
    """
    theirs: dict[str, bytes] = {}
    try:
        values = delivery.properties.as_dict()
        if values.pop("headers", None):
            theirs = dict(encoded_fields(delivery.header))
    except MalformedMessage:
        values = {}
    moved = {
        f"{OWN_HEADERS}{name.replace('_', '-')}": encodable(values.pop(name))
        for name in ("expiration", "user_id")
        if name in values
    }
    if values.get("type") == AGAIN:
        del values["type"]  # the copy is no second one of the same message
    values["delivery_mode"] = 2
    kept = {name: field for name, field in theirs.items() if name not in NOT_COPIED}
    brief = {name: value for name, value in ours.items() if name != TRACEBACK}
    for fields, more in ((kept, ours), (kept, brief), ({}, brief)):
        properties = _with_headers(values, fields, {**moved, **more})
        if _fits(properties, room):
            return properties
    least = {name: value for name, value in brief.items() if name != TEXT}
    return Properties(delivery_mode=2, headers=least)


def _with_headers(
    values: Mapping[str, Any], theirs: Mapping[str, bytes], ours: dict[str, Any]
) -> Properties:
    """Return properties with *values*, and with the headers of the sender as they came."""
    fields = (field for name, field in theirs.items() if name not in ours)
    return Properties(**values, headers=encoded_table(fields, ours))


def _fits(properties: Properties, room: int) -> bool:
    try:
        return len(properties.encode()) <= room
    except Exception:  # pika raises many kinds for values that it has decoded itself
        return False
