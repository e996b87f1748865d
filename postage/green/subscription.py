"""Keeps the AMQP consumers of one component alive, from its start until it is stopped.

How it works
------------
A component listens to some queues.  For each of them its `Subscription` has one AMQP consumer, all
on one channel.  Its states are these:

    NEW --START--> STARTING --RESTORED--> CONSUMING --BROKEN--> RECOVERING --RESTORED--> CONSUMING

Each of them leads to FAILED, after an error that waiting does not cure, and to STOPPED.

* **Breaking.**  The connection or the channel ends (`_on_channel_end`), or the broker ends a
  single consumer because its queue was deleted or its leader moved (`_on_cancel`).  Both are
  reported in the hub.  In case a report is missing, `Runtime.consumer_check` calls `check` every
  few seconds.
* **Recovering.**  One greenlet runs `_recover` until nothing is missing.  It waits for a
  connection, opens a channel, declares each queue that this connection has not declared yet, and
  consumes from each queue without a consumer.  Consumers that survived are left alone.  A healthy
  subscription has no greenlet.
* **Pausing.**  After a lost connection it does not pause, because reconnecting does.  After a
  channel or consumer that ended soon after the last recovery it pauses by `Backoff`, so that a
  queue whose messages break the channel does not keep the broker busy.
* **Failing.**  A refusal at the start is an error of the program, and so is one that will not pass
  (`topology.may_pass`), such as a queue with other flags.  The component gets the error and ends
  with it.  Other refusals, such as a queue on a node that is down, are tried again.

The first recovery is the start.  The startup pool of the runtime, which runs a few of them at a
time, makes the first try; if it does not succeed, the subscription spawns a greenlet of its own.
"""

from __future__ import annotations

import contextlib
import enum
import math
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import gevent
import gevent.event

from postage.errors import (
    ChannelRefused,
    ConnectionClosed,
    ConnectionLost,
    ConsumerCancelled,
    OperationTimeout,
    PostageError,
)
from postage.exchange import Exchange
from postage.green.amqp.backoff import Backoff
from postage.green.amqp.channel import Channel, OnDelivery, new_tag
from postage.green.amqp.connection import Connection
from postage.green.amqp.hub_logging import HubLogger
from postage.green.amqp.refusals import Declaration
from postage.green.runtime import Runtime
from postage.green.topology import QueueDeclaration, Topology, may_pass

__all__ = [
    "TRANSITIONS",
    "Subscription",
    "SubscriptionEvent",
    "SubscriptionState",
    "declare_queue",
    "next_subscription_state",
]

logger = HubLogger(__name__)

LASTED = 5.0
"""Seconds after which consuming has lasted: the first recovery after it does not pause."""


class SubscriptionState(enum.Enum):
    """Where a subscription is in its life."""

    NEW = enum.auto()
    STARTING = enum.auto()
    """It has never had all its consumers."""
    CONSUMING = enum.auto()
    """The broker has a consumer for every queue, as far as is known here."""
    RECOVERING = enum.auto()
    FAILED = enum.auto()
    """The component got the error, and will stop the subscription."""
    STOPPED = enum.auto()


class SubscriptionEvent(enum.Enum):
    """What can happen to a subscription."""

    START = enum.auto()
    RESTORED = enum.auto()
    """Every queue has its consumer."""
    BROKEN = enum.auto()
    """A consumer, the channel or the connection has ended."""
    FAIL = enum.auto()
    STOP = enum.auto()


_S, _E = SubscriptionState, SubscriptionEvent

TRANSITIONS: Mapping[SubscriptionState, Mapping[SubscriptionEvent, SubscriptionState]] = {
    _S.NEW: {_E.START: _S.STARTING, _E.STOP: _S.STOPPED},
    _S.STARTING: {
        _E.RESTORED: _S.CONSUMING,
        _E.BROKEN: _S.RECOVERING,
        _E.FAIL: _S.FAILED,
        _E.STOP: _S.STOPPED,
    },
    _S.CONSUMING: {_E.BROKEN: _S.RECOVERING, _E.FAIL: _S.FAILED, _E.STOP: _S.STOPPED},
    _S.RECOVERING: {
        _E.RESTORED: _S.CONSUMING,
        _E.BROKEN: _S.RECOVERING,
        _E.FAIL: _S.FAILED,
        _E.STOP: _S.STOPPED,
    },
    # Until the component stops it, the end of its channel or consumers may be reported.
    _S.FAILED: {_E.BROKEN: _S.FAILED, _E.FAIL: _S.FAILED, _E.STOP: _S.STOPPED},
    _S.STOPPED: {_E.BROKEN: _S.STOPPED, _E.FAIL: _S.STOPPED, _E.STOP: _S.STOPPED},
}


def next_subscription_state(
    state: SubscriptionState, event: SubscriptionEvent
) -> SubscriptionState:
    """Return the state after *event*; raise `AssertionError` where *event* cannot happen."""
    if event not in TRANSITIONS[state]:
        raise AssertionError(f"{event.name} cannot happen to a subscription that is {state.name}")
    return TRANSITIONS[state][event]


def declare_queue(connection: Connection, queue: QueueDeclaration) -> None:
    """Declare *queue*, its exchanges and bindings on *connection*, and set its name; switches.

    The caller holds the declare gate of the runtime.  Raises what `Channel` does.
    """
    try:
        _declare_all(connection, queue)
    except ChannelRefused as exc:
        deleted = [each for each, _ in queue.bindings if exc.misses(each.name)]
        if not deleted:
            raise
        # An exchange was deleted after this connection had declared it.
        for exchange in deleted:
            connection.discard_declaration(exchange)
        _declare_all(connection, queue)
    queue.declared_on = connection


def _declare_all(connection: Connection, queue: QueueDeclaration) -> None:
    exchanges: dict[type[Exchange], None] = dict.fromkeys(each for each, _ in queue.bindings)
    for exchange in exchanges:
        connection.declare(exchange)
    bindings = [(exchange.name, key) for exchange, key in queue.bindings]
    queue.name = connection.carry_out(
        Declaration.of_queue(queue.requested_name, queue.flags),
        lambda to: to.queue_declare_bound(queue.requested_name, queue.flags, bindings),
    )


class Subscription:
    """The AMQP consumers of one component, one for each of its queues.

    *on_delivery* is called in the hub.  *on_failure* is called, in the hub or in a greenlet, with
    an error that waiting does not cure.
    """

    __slots__ = (
        "_backoff",
        "_cancelled_tags",
        "_channel",
        "_consuming_since",
        "_counts",
        "_greenlet",
        "_on_delivery",
        "_on_failure",
        "_queue_of_tag",
        "_retry_now",
        "_runtime",
        "_state",
        "_topology",
        "prefetch",
    )

    def __init__(
        self,
        runtime: Runtime,
        topology: Topology,
        on_delivery: OnDelivery,
        on_failure: Callable[[Exception], None],
        counts: Counter[str],
    ) -> None:
        self.prefetch = 1
        self._runtime, self._topology = runtime, topology
        self._on_delivery, self._on_failure, self._counts = on_delivery, on_failure, counts
        self._state = SubscriptionState.NEW
        self._channel: Channel | None = None
        self._queue_of_tag: dict[str, QueueDeclaration] = {}
        # Consumers that have ended, but may still hold unacknowledged messages.
        self._cancelled_tags: list[str] = []
        self._greenlet: Any = None  # runs `_recover`
        self._retry_now = gevent.event.Event()
        self._retry_now.set()
        self._consuming_since = -math.inf
        self._backoff = Backoff()

    def __repr__(self) -> str:
        return f"<Subscription to {self._names()}, {self._state.name.lower()}>"

    @property
    def consuming(self) -> bool:
        """Whether the broker has a consumer for every queue, as far as is known here."""
        return self._state is SubscriptionState.CONSUMING and self._is_complete()

    def queue_of(self, tag: str) -> str:
        """Return the name of the queue with the consumer *tag*, or an empty string."""
        queue = self._queue_of_tag.get(tag)
        return "" if queue is None else queue.name

    # --- for the component

    def start(self) -> None:
        """Start to consume as soon as the broker can be reached; never switches."""
        self._move(SubscriptionEvent.START)
        self._runtime.startup.submit(self._recover)

    def add(self, queue: QueueDeclaration) -> None:
        """Also consume from *queue*, which is declared; switches.

        If the channel has ended, recovery does it later.  Raises `ChannelRefused`.
        """
        channel = self._channel
        if channel is None or not channel.alive or queue.consumer_tag in self._queue_of_tag:
            return
        try:
            self._consume(channel, queue)
        except (ConnectionLost, OperationTimeout) as exc:
            logger.debug("Not consuming yet from queue %r: %s", queue.name, exc)
            self._note_broken()

    def remove(self, queue: QueueDeclaration) -> None:
        """Stop consuming from *queue*; switches."""
        known = self._queue_of_tag.pop(queue.consumer_tag, None)
        if known is not None and self._channel is not None:
            self._cancelled_tags.append(queue.consumer_tag)
            self._channel.cancel(queue.consumer_tag)

    def stop(self) -> None:
        """End the consumers; messages that were delivered can still be acknowledged.

        Switches only to kill the recovery greenlet.  Waits neither for an answer of the broker nor
        for a connection.
        """
        self._move(SubscriptionEvent.STOP)
        self._runtime.consumer_check.discard(self.check)
        if self._greenlet is not None:
            self._greenlet.kill()
        for tag in self._queue_of_tag:
            if self._channel is not None:
                self._channel.cancel_nowait(tag)

    def close(self, limit: float) -> None:
        """Stop, and requeue all unacknowledged messages, in at most *limit* seconds; switches."""
        self.stop()
        channel, tags = self._channel, {*self._queue_of_tag, *self._cancelled_tags}
        self._drop_channel()
        if channel is not None:
            channel.release(tags, limit)

    # --- breaking; in the hub

    def check(self) -> None:
        """Recover if a consumer has ended without a report."""
        if self._state is not SubscriptionState.CONSUMING or self._is_complete():
            return
        self._counts["missing"] += 1
        logger.warning(
            "Consumers of %s are missing, and no end was reported; restoring them.", self._names()
        )
        channel = self._channel
        if channel is None or not channel.alive:
            self._drop_channel()
        else:
            for tag in [tag for tag in self._queue_of_tag if not channel.has_consumer(tag)]:
                del self._queue_of_tag[tag]
        self._note_broken()

    def _on_channel_end(self, error: PostageError) -> None:
        self._drop_channel()
        if isinstance(error, ConnectionClosed):
            self._fail(error)
            return
        self._counts["lost"] += 1
        if isinstance(error, ConnectionLost):
            self._retry_now.set()  # reconnecting makes the pauses
        else:
            logger.warning(
                "The channel of %s was closed; opening another: %s", self._names(), error
            )
        self._note_broken()

    def _on_cancel(self, tag: str) -> None:
        queue = self._queue_of_tag.pop(tag, None)
        if queue is None:
            return
        queue.declared_on = None
        queue.was_cancelled = True
        self._counts["cancelled"] += 1
        logger.warning(
            "The broker ended the consumer of queue %r (was it deleted, or did its leader move?); "
            "restoring it.",
            queue.name,
        )
        self._note_broken()

    def _note_broken(self) -> None:
        was_consuming = self._state is SubscriptionState.CONSUMING
        self._move(SubscriptionEvent.BROKEN)
        if self._state is not SubscriptionState.RECOVERING or self._greenlet is not None:
            return
        if was_consuming and time.monotonic() - self._consuming_since > LASTED:
            self._backoff.reset()
            self._retry_now.set()
        self._recover_in_greenlet()

    def _recover_in_greenlet(self) -> None:
        self._greenlet = gevent.spawn(self._recover)
        self._greenlet.name = f"recovery of {self._names()}"

    # --- recovering

    def _recover(self) -> None:
        """Try until every queue has its consumer; in the startup pool, try only once."""
        in_startup = self._greenlet is None
        if self._state is SubscriptionState.STOPPED or not (
            in_startup or self._greenlet is gevent.getcurrent()
        ):
            return
        self._runtime.consumer_check.add(self.check)
        self._greenlet = gevent.getcurrent()
        try:
            while not self._is_complete():
                self._pause()
                self._consume_all()
                if in_startup:
                    break
        except Exception as exc:  # the component ends with it
            self._greenlet = None
            self._fail(exc)
            return
        finally:
            self._greenlet = None
        if self._is_complete():
            self._note_restored()
        else:
            self._recover_in_greenlet()

    def _pause(self) -> None:
        if not self._retry_now.is_set():
            self._retry_now.wait(self._backoff.pause())
        self._retry_now.clear()

    def _consume_all(self) -> None:
        """Consume from every queue that has no consumer, as far as that is possible now."""
        try:
            connection = self._runtime.pair.consuming.get(math.inf)
            channel = self._channel_on(connection)
            for queue in self._topology:
                if queue.consumer_tag not in self._queue_of_tag and channel.alive:
                    self._declare_and_consume(connection, channel, queue)
        except (ConnectionLost, OperationTimeout) as exc:
            logger.debug("Not consuming yet from %s: %s", self._names(), exc)

    def _channel_on(self, connection: Connection) -> Channel:
        if self._channel is not None and self._channel.alive:
            return self._channel
        self._drop_channel()
        channel = connection.consuming_channel()
        channel.on_end.append(self._on_channel_end)
        channel.on_cancel.append(self._on_cancel)
        self._channel = channel
        return channel

    def _declare_and_consume(
        self, connection: Connection, channel: Channel, queue: QueueDeclaration
    ) -> None:
        was_declared = queue.declared_on is connection
        try:
            if not was_declared:
                with self._runtime.declare_gate:
                    declare_queue(connection, queue)
            if queue in self._topology and channel.alive:  # it may have been removed meanwhile
                self._consume(channel, queue)
        except ChannelRefused as exc:
            queue.declared_on = None
            if not was_declared:
                self._check_refusal(exc, queue)

    def _consume(self, channel: Channel, queue: QueueDeclaration) -> None:
        # Register it first: `remove` or a cancel of the broker may come before the answer.
        tag = queue.consumer_tag = new_tag()
        self._queue_of_tag[tag] = queue
        try:
            channel.consume(queue.name, self._on_delivery, prefetch=self.prefetch, tag=tag)
        except BaseException:
            if self._queue_of_tag.pop(tag, None) is not None:
                self._cancelled_tags.append(tag)
                channel.cancel_nowait(tag)
            raise

    def _check_refusal(self, error: ChannelRefused, queue: QueueDeclaration) -> None:
        """Raise *error* if it will not pass, or if there has never been a consumer."""
        if self._consuming_since > -math.inf and may_pass(error, queue):
            logger.warning("Queue %r is not available; trying again: %s", queue.name, error)
            return
        if queue.was_cancelled:
            raise error from ConsumerCancelled(queue.name)
        raise error

    def _note_restored(self) -> None:
        was_starting = self._state is SubscriptionState.STARTING
        self._move(SubscriptionEvent.RESTORED)
        self._consuming_since = time.monotonic()
        for queue in self._topology:
            queue.was_cancelled = False
        if not was_starting:
            self._counts["restored"] += 1
            logger.info("Consuming again from %s.", self._names())

    # --- helpers

    def _move(self, event: SubscriptionEvent) -> None:
        self._state = next_subscription_state(self._state, event)

    def _fail(self, error: Exception) -> None:
        self._move(SubscriptionEvent.FAIL)
        self._on_failure(error)

    def _is_complete(self) -> bool:
        channel = self._channel
        if channel is None or not channel.alive:
            return False
        return all(
            queue.consumer_tag in self._queue_of_tag and channel.has_consumer(queue.consumer_tag)
            for queue in self._topology
        )

    def _drop_channel(self) -> None:
        if self._channel is not None:
            # If `check` has found the end of the channel, its callbacks may be removed already.
            with contextlib.suppress(KeyError):
                self._channel.on_end.remove(self._on_channel_end)
                self._channel.on_cancel.remove(self._on_cancel)
        self._channel = None
        self._queue_of_tag.clear()
        self._cancelled_tags.clear()

    def _names(self) -> str:
        return ", ".join(repr(queue.name) for queue in self._topology) or "no queue"
