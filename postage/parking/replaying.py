"""Sending messages that failed back to the queue in which they failed.

How it works
------------
The messages of the queue are taken one after the other (`walk`), and each that is chosen is
published to its queue by the default exchange, so no other queue gets a copy.  When the broker has
confirmed the copy, the message is acknowledged, and only then the next one is published, on the
same channel: a broker carries out what one channel asks in its order.  So whenever this process is
killed, at most one message is in both queues, and none in neither.

A transaction of AMQP would be faster and wrong: RabbitMQ carries out the acknowledgements of a
commit even if it could not publish the messages.

What a copy has
---------------
The copy has the body, the properties and the headers of the message, except

* our headers, which tell of the failure.  Those with the first exchange and key stay, so the
  handler sees where the message was sent first;
* headers that brokers write or act on, as when it was parked (`keeping.NOT_COPIED`);
* ``expiration``: a person asks for the message to be handled now, and with its old time to live it
  could expire before that;
* ``user_id``: the broker accepts only the name of our own user.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import gevent

from postage.errors import (
    ChannelRefused,
    NoRoute,
    NoSuchMessage,
    NotAcknowledged,
    PostageError,
    ReplayStopped,
    SettingsError,
)
from postage.green.amqp.channel import Channel
from postage.green.amqp.connection import Connection
from postage.green.amqp.properties import Properties, encoded_fields, encoded_table
from postage.green.handling.keeping import NOT_COPIED
from postage.green.runtime import runtime_of
from postage.parking.failed import FailedMessage, id_of
from postage.parking.looking import check_limit, whole_ids
from postage.parking.walk import Walk, connection_to, settings_for
from postage.protocol import OWN_HEADERS, SEND_ID
from postage.recoverability import origin_headers
from postage.values import rule, short_text

__all__ = ["Chosen", "Replayed", "replace", "replay"]

Chosen = Callable[[FailedMessage], bool] | str | Iterable[str] | None
"""Which messages: a function that tells, an id or several, or None for all."""
MOST_KEPT = 100

_check_rate = rule(
    "a number of messages in a second, above 0",
    lambda value: isinstance(value, (int, float)) and 0 < value < math.inf,
    none=True,
)
_check_target = short_text(1, none=True)


@dataclass
class Replayed:
    """What a replay has done, or would do."""

    count: int = 0
    """How many messages were replayed."""
    left: int = 0
    """How many messages that were in the queue at the beginning are still in it."""
    targets: Counter[str] = field(default_factory=Counter)
    """How many messages were sent to each queue."""
    refused: int = 0
    """How many of the chosen messages could not be replayed, and are still in the queue."""
    refusals: dict[str, PostageError] = field(default_factory=dict)
    """The reasons, by the ids of the first hundred messages that could not be replayed."""

    def refuse(self, message: FailedMessage, error: PostageError) -> None:
        """Note that *message* could not be replayed because of *error*."""
        self.refused += 1
        if len(self.refusals) < MOST_KEPT:
            self.refusals[message.id] = error


def replay(  # noqa: PLR0913 - its options
    queue: str,
    chosen: Chosen = None,
    *,
    to: str | None = None,
    rate: float | None = None,
    limit: int | None = None,
    dry_run: bool = False,
    progress: Callable[[int, int], object] | None = None,
    url: str | None = None,
    anyway: bool = False,
) -> Replayed:
    """Send the *chosen* messages of *queue* back to the queues in which they failed; switches.

    *chosen* is a function that returns whether a `FailedMessage` is replayed, an id, several ids,
    or None for all.  *to* names another queue for all.  At most *rate* messages are sent in a
    second, and *limit* in all.  With *dry_run* nothing is changed; the return value says what would
    be done.  After each message, *progress* is called with the number of messages that were looked
    at, and the number of all; what *progress* raises ends the replay in order.  *url* and *anyway*
    are those of `look`.

    A message is acknowledged when the broker has confirmed its copy.  Messages that cannot be sent
    (their queue is gone, full, or not known) stay, and `Replayed.refusals` says why.  If the
    greenlet or the process is killed, no message is lost, and at most one is in both queues.

    Raises `ReplayStopped` if the replay has to end early, for instance because a confirm does not
    arrive within ``operation_timeout`` or the connection is lost; `NoSuchMessage` for an id that
    does not name one message; `SettingsError` for a *rate*, *limit* or *to* that cannot be used;
    and what `look` does.
    """
    _check(queue, to, rate, limit)
    wanted = _predicate(queue, chosen, url=url, anyway=anyway)
    connection = connection_to(url, publishing=True)
    done, started = Replayed(), time.monotonic()
    # If all are replayed, none is given back, so no return counts.
    is_safe = anyway or (chosen is None and not dry_run and limit is None)
    with closing(Walk(connection, queue, anyway=is_safe, confirms=True)) as walk:
        sender = _Sender(connection, walk.channel, queue, to, dry_run=dry_run)
        try:
            if limit != 0:
                for message in walk:
                    if wanted(message):
                        _send(walk, sender, message, done)
                    if progress is not None:
                        progress(walk.taken, walk.size)
                    if done.count == limit:
                        break
                    if rate is not None:
                        gevent.sleep(max(0.0, started + done.count / rate - time.monotonic()))
        except PostageError as exc:
            raise ReplayStopped(queue, done.count, str(exc)) from exc
        done.left = max(0, walk.size - (0 if dry_run else done.count))
    return done


def _check(queue: str, to: str | None, rate: float | None, limit: int | None) -> None:
    _check_rate("rate", rate)
    check_limit("limit", limit)
    _check_target("to", to)
    if to == queue:
        raise SettingsError(f"the messages of {queue!r} cannot be replayed to this queue itself")


def _predicate(
    queue: str, chosen: Chosen, *, url: str | None, anyway: bool
) -> Callable[[FailedMessage], bool]:
    if chosen is None:
        return lambda _message: True
    if callable(chosen):
        return chosen
    ids = [chosen] if isinstance(chosen, str) else list(chosen)
    known = whole_ids(queue, ids, url=url, anyway=anyway)
    return lambda message: message.id in known


def _send(walk: Walk, sender: _Sender, message: FailedMessage, done: Replayed) -> None:
    """Replay one message."""
    try:
        target = sender.send(message)
    except (NoRoute, NotAcknowledged, SettingsError) as exc:
        done.refuse(message, exc)
        return
    if not sender.dry_run:
        walk.ack(message.number)
    done.count += 1
    done.targets[target] += 1


class _Sender:
    """Publishes copies on the channel of a walk, one at a time."""

    def __init__(
        self,
        connection: Connection,
        channel: Channel,
        queue: str,
        to: str | None,
        *,
        dry_run: bool,
    ) -> None:
        self._connection, self._channel, self._queue, self._to = connection, channel, queue, to
        self._limit = connection.settings.operation_timeout
        self.dry_run = dry_run
        self._returned = False
        self._targets: dict[str, PostageError | None] = {}  # those that were asked
        channel.on_return = self._on_return

    def _on_return(self, _reason: str, _properties: Properties) -> None:
        self._returned = True  # the confirm follows

    def send(self, message: FailedMessage) -> str:
        """Publish a copy of *message* and wait for its confirm; return the queue that has it.

        A queue that has refused one message is asked for no other.
        """
        target = self._to or message.dossier.queue
        if not target:
            raise SettingsError("nobody knows in which queue it failed: name one (to, or --to)")
        if target == self._queue:
            raise SettingsError(f"it failed in {target!r} itself: name another queue (to, or --to)")
        if message.damaged:
            raise SettingsError(f"its properties cannot be copied: {message.damaged}")
        known = self._targets.get(target)
        if known is not None:
            raise known.with_traceback(None)
        try:
            if self.dry_run:
                self._ask(target)
            else:
                self.publish(target, replayed_properties(message), message.body)
        except (NoRoute, NotAcknowledged) as exc:
            self._targets[target] = exc
            raise
        return target

    def publish(self, target: str, properties: Properties, body: bytes) -> None:
        """Publish to the queue *target*, and wait for the confirm."""
        _check_encodable(properties)
        self._returned = False
        self._channel.publish_confirmed(
            "", target, properties, body, mandatory=True, limit=self._limit
        )
        if self._returned:
            raise NoRoute("", target)

    def _ask(self, target: str) -> None:
        """Raise `NoRoute` if there is no queue *target*."""
        if target in self._targets:
            return
        try:
            with self._connection.lease() as channel:
                channel.queue_counts(target)
        except ChannelRefused as exc:
            if exc.misses(target):
                raise NoRoute("", target) from None
            raise
        self._targets[target] = None


def _check_encodable(properties: Properties) -> None:
    try:
        properties.encode()
    except Exception as exc:  # pika raises many kinds for values that it has decoded itself
        raise SettingsError(
            f"its properties cannot be copied: {type(exc).__name__}: {exc}"
        ) from exc


def replayed_properties(message: FailedMessage) -> Properties:
    """Return the properties of a copy of *message* that is handled again."""
    about = message.dossier
    # The exchange and key of a foreign message may be any on its way, and are no headers of ours.
    ours = origin_headers(about.exchange, about.routing_key) if about.processor else {}
    return _copied(message, ours, is_left_out=lambda name: name.startswith(OWN_HEADERS))


def _copied(
    message: FailedMessage,
    ours: dict[str, Any],
    is_left_out: Callable[[str], bool] = lambda _name: False,
) -> Properties:
    """Return the properties of *message* that a copy may have, with our headers *ours*, too.

    The other headers are those that came, byte for byte.
    """
    values = message.properties.as_dict()
    for name in ("expiration", "user_id", "headers"):
        values.pop(name, None)
    fields = [
        field
        for name, field in encoded_fields(message.header)
        if not (name in NOT_COPIED or name in ours or is_left_out(name))
    ]
    if fields or ours:
        values["headers"] = encoded_table(fields, ours)
    return Properties(**values)


def replace(  # noqa: PLR0913 - its options
    queue: str,
    id: str,  # noqa: A002 - what it is
    body: bytes,
    *,
    kept_in: str | None = None,
    url: str | None = None,
    anyway: bool = False,
) -> str:
    """Put a copy with *body* in the place of the message *id* of *queue*; return the copy's id.

    Switches.  The copy has the properties and the dossier of the message, and becomes the last in
    the queue.  If *kept_in* is given, which must be an existing queue, the message itself is copied
    there first.  The message is acknowledged when the broker has confirmed both copies.  So if the
    greenlet or the process is killed before that, the message is still there, maybe beside its
    copies.

    Raises `NoSuchMessage`, `NoRoute` if *kept_in* does not exist, `NotAcknowledged` if a queue is
    full, `SettingsError` for properties that cannot be copied, and what `look` does.
    """
    (known,) = whole_ids(queue, [id], url=url, anyway=anyway)
    connection = connection_to(url, publishing=True)
    send_id = runtime_of(settings_for(url)).pair.new_id()
    with closing(Walk(connection, queue, anyway=anyway, confirms=True)) as walk:
        sender = _Sender(connection, walk.channel, queue, None, dry_run=False)
        for message in walk:
            if message.id == known:
                if kept_in is not None:
                    sender.publish(kept_in, _copied(message, {}), message.body)
                sender.publish(queue, _copied(message, {SEND_ID: send_id}), body)
                walk.ack(message.number)
                return id_of(send_id)
    raise NoSuchMessage(queue, id, "another program has taken it")
