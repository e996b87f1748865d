"""Declares queues with their exchanges and bindings, as the broker at hand understands them.

How it works
------------
Declaration and bindings take one round trip on a leased channel; see `TopologyOperations`.  Three
things depend on the broker:

* **No delivery limit.**  RabbitMQ 4 takes -1 as no limit.  Earlier versions have none by default
  and take -1 as 0, so there the argument is left out.
* **A limit that came later.**  No argument of an existing queue can be changed.  So a queue that
  exists with another limit is used as it is, and the log names the policy that changes it.  This
  does not concern a limit that the program has chosen: see `queues.limit_may_miss`.
* **Arguments that it ignores** are named in the log.
"""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Iterator
from functools import partial
from typing import Any, Protocol

from postage.addressing import Key
from postage.errors import ChannelRefused, TopologyMismatch
from postage.exchange import Exchange
from postage.green.amqp.connection import Connection
from postage.green.amqp.hub_logging import HubLogger
from postage.green.amqp.refusals import Declaration
from postage.green.amqp.stream_reader import StreamReader
from postage.green.amqp.waiting import after_looks
from postage.log_records import counted
from postage.queues import DEFAULT_LIMIT, DELIVERY_LIMIT, UNLIMITED_SINCE, unmet, without_limit
from postage.typed_queue import ConsumerOptions

__all__ = ["DeclarableQueue", "declare_queue", "silence_reported"]

logger = HubLogger(__name__)


class DeclarableQueue(Protocol):
    """A queue of a consumer."""

    name: str
    requested_name: str
    flags: dict[str, Any]
    bindings: dict[tuple[type[Exchange], Key], None]
    declared_on: object
    options: ConsumerOptions
    limit_may_miss: bool
    reader: StreamReader | None
    was_reported: bool


def declare_queue(connection: Connection, queue: DeclarableQueue, *, probe: bool = False) -> None:
    """Declare *queue*, its exchanges and bindings on *connection*, and set its name; switches.

    The caller has a place in the declare gate of the runtime.  With *probe*, also waits for an
    answer of the queue itself.  Raises what `Channel` does.
    """
    if queue.reader is not None and queue.reader.has_begun:
        _note_deleted(connection, queue.name, queue.reader)
    try:
        _declare_all(connection, queue, probe)
    except ChannelRefused as exc:
        deleted = [each for each, _ in queue.bindings if exc.misses(each.name, "exchange")]
        if not deleted:
            raise
        # An exchange was deleted after this connection had declared it.
        for exchange in deleted:
            connection.note_missing(exchange)
        _declare_all(connection, queue, probe)
    queue.declared_on = connection


def _note_deleted(connection: Connection, name: str, reader: StreamReader) -> None:
    """Let *reader* begin anew if its stream *name* was deleted: a new one counts from 0."""
    try:
        with connection.lease() as channel:
            channel.queue_declare(name, passive=True)
    except ChannelRefused as exc:
        if exc.misses(name, "queue"):
            reader.reset()


def _declare_all(connection: Connection, queue: DeclarableQueue, probe: bool) -> None:  # noqa: FBT001 - private
    exchanges: dict[type[Exchange], None] = dict.fromkeys(each for each, _ in queue.bindings)
    for exchange in exchanges:
        connection.declare(exchange)
    flags = _understood(queue, connection)
    try:
        queue.name = _declare_with(connection, queue, flags, probe)
    except TopologyMismatch as exc:
        if not queue.limit_may_miss or exc.flag != DELIVERY_LIMIT:
            raise
        _report_limit(connection, queue, exc)
        queue.flags = without_limit(flags)
        if exc.theirs != "none":
            queue.flags["arguments"][DELIVERY_LIMIT] = int(exc.theirs)
        queue.name = _declare_with(connection, queue, queue.flags, probe)


def _declare_with(
    connection: Connection,
    queue: DeclarableQueue,
    flags: dict[str, Any],
    probe: bool,  # noqa: FBT001 - private
) -> str:
    name = queue.requested_name
    bindings = [(exchange.name, key) for exchange, key in queue.bindings]
    return connection.trials.carry_out(
        Declaration.of_queue(name, flags),
        lambda to: to.queue_declare_bound(name, flags, bindings, probe=probe),
    )


def _understood(queue: DeclarableQueue, connection: Connection) -> dict[str, Any]:
    """Return the flags of *queue* as the broker understands them; log what it ignores."""
    version = connection.version
    for argument in unmet(queue.flags, queue.options, version):
        logger.warning(
            "Queue %r: this broker, version %s, ignores the argument %s.",
            *(queue.requested_name, ".".join(map(str, version)), argument),
            extra=counted(queue.requested_name, argument),
        )
    arguments = queue.flags.get("arguments") or {}
    is_endless = queue.limit_may_miss and arguments.get(DELIVERY_LIMIT) == -1
    if is_endless and version < UNLIMITED_SINCE:
        return without_limit(queue.flags)
    return queue.flags


def _report_limit(connection: Connection, queue: DeclarableQueue, exc: TopologyMismatch) -> None:
    limit = queue.flags["arguments"].get(DELIVERY_LIMIT)
    kept = DEFAULT_LIMIT if exc.theirs == "none" else int(exc.theirs)
    if limit is None or connection.version < UNLIMITED_SINCE or kept < 0 or 0 <= limit <= kept:
        return
    logger.warning(
        "Queue %r exists with %s = %s, which cannot become %d: %s",
        *(queue.requested_name, DELIVERY_LIMIT, exc.theirs, limit),
        _limit_policy(queue.requested_name, kept, limit, connection.settings.vhost),
        extra=counted(queue.requested_name),
    )


def _limit_policy(queue: str, kept: int, limit: int, vhost: str) -> str:
    """Return what RabbitMQ 4 does with *queue*, whose limit is *kept*, and how to get *limit*."""
    name = "".join(
        letter if letter.isalnum() or letter in "_-" else f"\\{letter}" for letter in queue
    )
    definition = json.dumps({"delivery-limit": limit})
    return (
        f"RabbitMQ drops or dead-letters a message that returns more than {kept} times.  "
        f"Set a policy, if there is none: rabbitmqctl set_policy -p {vhost} --apply-to queues NAME "
        f"'^{name}$' '{definition}'"
    )


# --- queues that do not answer


@contextlib.contextmanager
def silence_reported(queue: DeclarableQueue, limit: float) -> Iterator[None]:
    """Report that the broker does not answer about *queue* if the block takes over *limit* s."""
    timer = after_looks(limit, partial(_report_silence, queue))
    try:
        yield
    finally:
        timer.close()


def _report_silence(queue: DeclarableQueue) -> None:
    level, queue.was_reported = logging.DEBUG if queue.was_reported else logging.WARNING, True
    logger.log(
        level,
        "The broker does not answer about queue %r (does the queue's node hang?); waiting for "
        "it apart from all other queues.",
        queue.name,
    )
