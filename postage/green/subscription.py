"""Keeps the AMQP consumers of one component alive, from its start until it is stopped.

How it works
------------
A component listens to some queues.  For each of them its `Subscription` has one AMQP consumer.  Its
states (`subscription_states`) are these:

    NEW --START--> STARTING --RESTORED--> CONSUMING --BROKEN--> RECOVERING --RESTORED--> CONSUMING

Each of them leads to FAILED, after an error that waiting does not cure, and to STOPPED.

* **Breaking.**  The connection or the channel ends (`_on_channel_end`), or the broker ends a
  single consumer because its queue was deleted or its leader moved (`_on_cancel`).  Both are
  reported in the hub.  In case a report is missing, `Runtime.consumer_check` calls `check` every
  few seconds.
* **Recovering.**  For each queue without a consumer, a greenlet runs `_recover` until the queue has
  one.  It waits for a connection, declares the queue if this connection has not declared it yet,
  and consumes from it.  So a queue that does not answer, or is refused, holds up no other queue.
  Consumers that survived are left alone.  A healthy subscription has no greenlet.
* **Channels.**  All queues share one channel.  A broker does one operation of a channel after the
  other, so a queue that hangs would stop the consumers of all others.  Therefore the declaration
  first asks the queue itself, on a leased channel.  If ``basic.consume`` still gets no answer
  within `PATIENCE`, the channel is abandoned, and this queue gets a channel of its own.  So does
  an exclusive consumer: while another one has the queue, each try costs its channel.
* **Pausing.**  After a lost connection it does not pause, because reconnecting does.  After a
  channel or consumer that ended soon after its start, and after a refusal, it pauses by
  `Backoff`, so that a queue whose messages break the channel does not keep the broker busy.
* **Failing.**  A refusal at the start is an error of the program, and so is one that will not pass
  (`topology.may_pass`), such as a queue with other flags.  The component gets the error and ends
  with it.  Other refusals, such as a queue on a node that is down, are tried again.

The startup pool of the runtime makes the first try; the queues for which it fails are recovered.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import gevent

from postage.errors import (
    ChannelRefused,
    ConnectionClosed,
    ConnectionLost,
    ConsumerCancelled,
    OperationTimeout,
    PostageError,
)
from postage.green.amqp.channel import Channel, OnDelivery, new_tag
from postage.green.amqp.connection import Connection
from postage.green.amqp.declared_queues import declare_queue, silence_reported
from postage.green.amqp.hub_logging import HubLogger
from postage.green.amqp.waiting import SharedResource, answer_within
from postage.green.runtime import Runtime
from postage.green.subscription_states import (
    SubscriptionEvent,
    SubscriptionState,
    next_subscription_state,
)
from postage.green.topology import QueueDeclaration, Topology, in_use, may_pass

__all__ = ["Subscription"]

logger = HubLogger(__name__)

LASTED = 5.0
"""Seconds after which consuming has lasted: the first recovery after it does not pause."""
FAREWELL = 2.0
"""Seconds for which a final refusal waits for the end of its connection, which would explain it."""
PATIENCE = 2.0
"""Seconds without an answer after which a queue is reported, and no longer holds up others.  Only
seconds in which the hub reads count.  Otherwise a late hub would make all consumers that are just
starting give up their channels, and the restart of all others there would make it late again."""


class Subscription:
    """The AMQP consumers of one component, one for each of its queues.

    *on_delivery* is called in the hub.  *on_failure* is called, in the hub or in a greenlet, with
    an error that waiting does not cure.
    """

    __slots__ = (
        "_cancelled_tags",
        "_channel",
        "_counts",
        "_has_consumed",
        "_on_delivery",
        "_on_failure",
        "_opening",
        "_own_channels",
        "_queue_of_tag",
        "_recovering",
        "_runtime",
        "_starter",
        "_state",
        "_topology",
        "limits",
    )

    def __init__(
        self,
        runtime: Runtime,
        topology: Topology,
        on_delivery: OnDelivery,
        on_failure: Callable[[Exception], None],
        counts: Counter[str],
    ) -> None:
        self.limits: dict[str, Any] = {}  # for `Channel.consume`
        self._runtime, self._topology = runtime, topology
        self._on_delivery, self._on_failure, self._counts = on_delivery, on_failure, counts
        self._state = SubscriptionState.NEW
        self._has_consumed = False  # from all queues at a time
        self._channel: Channel | None = None
        self._opening: SharedResource[Channel] | None = None
        # Queues whose consume was not answered, with their channels.
        self._own_channels: dict[QueueDeclaration, Channel | None] = {}
        self._queue_of_tag: dict[str, QueueDeclaration] = {}
        # Consumers that have ended, but may still hold unacknowledged messages.
        self._cancelled_tags: list[str] = []
        self._starter: Any = None  # the greenlet that runs `_start`
        self._recovering: dict[QueueDeclaration, Any] = {}  # the greenlet of each queue

    def __repr__(self) -> str:
        return f"<Subscription to {self._names()}, {self._state.name.lower()}>"

    @property
    def consuming(self) -> bool:
        """Whether the broker has a consumer for every queue, as far as is known here."""
        is_complete = not self._topology.is_held and self._is_complete()
        return self._state is SubscriptionState.CONSUMING and is_complete

    def queue_of(self, tag: str) -> str:
        """Return the name of the queue with the consumer *tag*, or an empty string."""
        queue = self._queue_of_tag.get(tag)
        return "" if queue is None else queue.name

    # --- for the component

    def start(self) -> None:
        """Start to consume as soon as the broker can be reached; never switches."""
        self._move(SubscriptionEvent.START)
        self._runtime.startup.submit(self._start)

    def hold(self) -> None:
        """End the consumers that a held `Topology` does not want; never switches.

        What was delivered can still be settled.
        """
        for queue in self._topology:
            if not queue.ends_with_consumer:
                if (recovering := self._recovering.pop(queue, None)) is not None:
                    recovering.kill(block=False)
                self._end_consumer(queue)

    def resume(self, prefetch: int) -> None:
        """Consume from every queue again, with this prefetch; never switches."""
        self.limits["prefetch"] = prefetch
        self._move(SubscriptionEvent.RESUME)
        self._recover_each(self._missing(), pauses=False)

    def _end_consumer(self, queue: QueueDeclaration) -> None:
        channel, tag = self._channel_of(queue), queue.consumer_tag
        if self._queue_of_tag.pop(tag, None) is not None and channel is not None:
            held = {each.consumer_tag for each in channel.in_progress}
            self._cancelled_tags = [each for each in self._cancelled_tags if each in held]
            self._cancelled_tags.append(tag)
            channel.cancel_nowait(tag, forget=True)

    def add(self, queue: QueueDeclaration) -> None:
        """Also consume from *queue*, which is declared; switches.

        If the channel has ended, recovery does it later.  Raises `ChannelRefused`.
        """
        channel = self._channel
        if queue.consumer_tag in self._queue_of_tag or not self._is_wanted(queue):
            return
        if channel is None or not channel.alive:
            if self._state is SubscriptionState.CONSUMING:  # it had no queue so far
                self._move(SubscriptionEvent.BROKEN)
            self._recover_each([queue], pauses=False)
            return
        try:
            self._consume(channel, queue)
        except (ConnectionLost, OperationTimeout) as exc:
            logger.debug("Not consuming yet from queue %r: %s", queue.name, exc)
            self._note_broken([queue])
        self._note_progress()  # the recovery of the others may have ended meanwhile

    def remove(self, queue: QueueDeclaration) -> None:
        """Stop consuming from *queue*; switches."""
        if (recovering := self._recovering.pop(queue, None)) is not None:
            recovering.kill()  # also takes back a consumer that was not answered
            self._note_progress()
        known = self._queue_of_tag.pop(queue.consumer_tag, None)
        channel = self._channel_of(queue)
        if known is not None and channel is not None:
            self._cancelled_tags.append(queue.consumer_tag)
            channel.cancel(queue.consumer_tag)

    def stop(self) -> None:
        """End the consumers; messages that were delivered can still be acknowledged.

        Switches only to kill the greenlets that recover, and does not wait for the broker.
        """
        self._move(SubscriptionEvent.STOP)
        self._runtime.consumer_check.discard(self)
        self._runtime.pair.rebinding.discard(self)
        greenlets = [*self._recovering.values(), *filter(None, [self._starter])]
        self._recovering.clear()
        gevent.killall(greenlets)
        for tag, queue in self._queue_of_tag.items():
            channel = self._channel_of(queue)
            if channel is not None:
                channel.cancel_nowait(tag)

    def close(self, limit: float) -> None:
        """Stop, and requeue all unacknowledged messages, in at most *limit* seconds; switches."""
        self.stop()
        channel, tags = self._channel, {*self._queue_of_tag, *self._cancelled_tags}
        own_channels = [each for each in self._own_channels.values() if each is not None]
        self._drop_channel()
        for each in own_channels:
            each.on_end.clear()
            each.close_nowait()
        if channel is not None:
            channel.release(tags, limit if channel.shared else channel.await_cancels(limit))

    # --- for `Rebinding`, which restores what others delete

    def queues_on(self, connection: Connection) -> Iterator[QueueDeclaration]:
        """Yield the bound queues that *connection* has declared."""
        for queue in self._topology:
            if queue.declared_on is connection and queue.bindings:
                yield queue

    def fail(self, error: Exception) -> None:
        """End the component with *error*, which waiting does not cure."""
        self._move(SubscriptionEvent.FAIL)
        self._on_failure(error)

    # --- breaking; in the hub

    def check(self) -> None:
        """Recover if a consumer has ended without a report."""
        if self._state is not SubscriptionState.CONSUMING or self._is_complete():
            return
        self._counts["missing"] += 1
        logger.warning(
            "Consumers of %s are missing, and no end was reported; restoring them.", self._names()
        )
        if self._channel is None or not self._channel.alive:
            self._drop_channel()
        missing = self._missing()
        for queue in missing:
            self._queue_of_tag.pop(queue.consumer_tag, None)
        self._note_broken(missing)

    def _on_channel_end(self, error: PostageError) -> None:
        self._drop_channel()
        self._note_end(error, self._missing())

    def _on_own_channel_end(self, queue: QueueDeclaration, error: PostageError) -> None:
        self._queue_of_tag.pop(queue.consumer_tag, None)
        self._own_channels[queue] = None
        if queue not in self._recovering:  # it has answered, and may share the channel again
            del self._own_channels[queue]
        self._note_end(error, [queue])

    def _note_end(self, error: PostageError, missing: list[QueueDeclaration]) -> None:
        if isinstance(error, ConnectionClosed):
            self.fail(error)
            return
        self._counts["lost"] += 1
        if not isinstance(error, ConnectionLost):
            logger.warning(
                "The channel of %s was closed; opening another: %s", self._names(), error
            )
        self._note_broken(missing, pauses=not isinstance(error, ConnectionLost))  # `get` makes them

    def _on_cancel(self, tag: str) -> None:
        queue = self._queue_of_tag.pop(tag, None)
        if queue is None:
            return
        queue.declared_on = None
        queue.was_cancelled = True
        self._counts["cancelled"] += 1
        channel = self._channel_of(queue)
        text = "The broker ended the consumer of queue %r (%s); restoring it."
        logger.warning(text, queue.name, "" if channel is None else channel.cancel_reason(tag))
        self._note_broken([queue])

    def _note_broken(self, missing: Iterable[QueueDeclaration], *, pauses: bool = True) -> None:
        self._move(SubscriptionEvent.BROKEN)
        self._recover_each(missing, pauses=pauses)

    def _recover_each(self, queues: Iterable[QueueDeclaration], *, pauses: bool) -> None:
        if self._starter is not None:
            return  # it does this when it has ended
        self._note_progress()  # if there is no queue
        if self._state not in (SubscriptionState.STARTING, SubscriptionState.RECOVERING):
            return
        for queue in queues:
            if queue not in self._recovering:
                greenlet = gevent.spawn(self._recover, queue, pauses=pauses)
                greenlet.name = f"recovery of {queue.name!r}"
                self._recovering[queue] = greenlet

    # --- starting and recovering

    def _start(self) -> None:
        """Try once to consume from each queue; runs in the startup pool."""
        if self._state is SubscriptionState.STOPPED:
            return
        self._runtime.consumer_check.add(self)
        self._runtime.pair.rebinding.add(self)
        self._starter = gevent.getcurrent()
        try:
            connection = self._runtime.pair.consuming.get(math.inf)
            self._channel_on(connection)
            for queue in self._topology:
                # Declaring would hold up the pool.
                if queue.declared_on is connection and self._is_wanted(queue):
                    self._try(queue)
        except (ConnectionLost, OperationTimeout) as exc:
            logger.debug("Not consuming yet from %s: %s", self._names(), exc)
        except Exception as exc:  # the component ends with it
            self.fail(exc)
        finally:
            self._starter = None
        self._recover_each(self._missing(), pauses=False)

    def _recover(self, queue: QueueDeclaration, *, pauses: bool) -> None:
        """Try until *queue* has its consumer; runs in a greenlet of its own."""
        lasted = time.monotonic() - queue.consuming_since > LASTED
        if lasted:
            queue.backoff = None
        pause = queue.next_pause() if pauses and not lasted else 0.0
        try:
            while self._is_wanted(queue) and not self._is_consumed(queue):
                gevent.sleep(pause)
                pause = self._try(queue)
        except Exception as exc:  # the component ends with it
            self._recovering.pop(queue, None)
            self.fail(exc)
            return
        self._recovering.pop(queue, None)
        self._note_progress()

    def _try(self, queue: QueueDeclaration) -> float:
        """Try once to consume from *queue*; return the seconds to pause before the next try."""
        connection = self._runtime.pair.consuming.get(math.inf)
        was_declared = queue.declared_on is connection
        try:
            if not was_declared:
                with self._runtime.declare_gate.acquire(), silence_reported(queue, PATIENCE):
                    declare_queue(connection, queue, probe=True)
            channel = self._channel_on(connection, queue)
            if self._is_wanted(queue):  # it may have been removed meanwhile
                self._consume(channel, queue)
        except ChannelRefused as exc:
            queue.declared_on = None
            if not was_declared:
                self._check_refusal(exc, queue, connection)
        except (ConnectionLost, OperationTimeout) as exc:
            logger.debug("Not consuming yet from queue %r: %s", queue.name, exc)
            if not connection.alive:
                return 0.0  # reconnecting makes the pauses
        return 0.0 if self._is_consumed(queue) else queue.next_pause()

    def _channel_of(self, queue: QueueDeclaration) -> Channel | None:
        return self._own_channels.get(queue, self._channel)

    def _channel_on(self, connection: Connection, queue: QueueDeclaration | None = None) -> Channel:
        """Return an open channel, the own one of *queue* if it must have one; may switch."""
        if queue is not None and queue.options.exclusive:
            self._own_channels.setdefault(queue, None)
        if queue in self._own_channels:
            channel = self._own_channels[queue]
            if channel is None or not channel.alive:
                channel = self._own_channels[queue] = connection.open_channel()
                channel.on_end.append(partial(self._on_own_channel_end, queue))
                channel.on_cancel.append(self._on_cancel)
            return channel
        if self._channel is not None and self._channel.alive:
            return self._channel
        if self._opening is None:
            self._opening = SharedResource(partial(self._open_channel, connection))
        return self._opening.get()

    def _open_channel(self, connection: Connection) -> Channel:
        try:
            channel = connection.consuming_channel()
        finally:
            self._opening = None
        self._drop_channel()
        channel.on_end.append(self._on_channel_end)
        channel.on_cancel.append(self._on_cancel)
        self._channel = channel
        return channel

    def _consume(self, channel: Channel, queue: QueueDeclaration) -> None:
        # Register it first: `remove` or a cancel of the broker may come before the answer.
        tag = queue.consumer_tag = new_tag()
        self._queue_of_tag[tag] = queue
        asked = {"tag": tag, "may_vanish": queue.may_vanish, **self.limits}
        receive, options = self._on_delivery, queue.options
        if queue.reader is not None:
            receive = partial(queue.reader.receive, receive)
            options = replace(options, arguments=queue.reader.arguments(options))
        limit = None if queue in self._own_channels else PATIENCE
        unanswered = OperationTimeout("basic.consume", PATIENCE)
        try:
            with channel.turn, silence_reported(queue, PATIENCE), answer_within(limit, unanswered):
                if tag in self._queue_of_tag:  # else it was held while it waited for its turn
                    channel.consume(queue.name, receive, options=options, **asked)
        except BaseException as exc:
            if self._queue_of_tag.pop(tag, None) is not None:
                self._cancelled_tags.append(tag)
                channel.cancel_nowait(tag)
            if isinstance(exc, OperationTimeout):
                self._own_channels[queue] = None
                channel.abandon(f"no answer about queue {queue.name!r}")
            raise
        queue.consuming_since, queue.was_reported = time.monotonic(), False

    def _check_refusal(
        self, error: ChannelRefused, queue: QueueDeclaration, connection: Connection
    ) -> None:
        """Raise *error* if it will not pass, or if there has never been a consumer; may switch."""
        if self._has_consumed and may_pass(error, queue):
            logger.warning("Queue %r is not available; trying again: %s", queue.name, error)
            return
        if self._has_consumed:
            # RabbitMQ 4.3 deletes a virtual host with its queues and permissions before it ends the
            # connections to it.  The virtual host may be made again.
            connection.wait_end(FAREWELL)
            if not connection.alive:
                return
        if queue.was_cancelled:
            raise error from ConsumerCancelled(queue.name)
        raise in_use(error, queue)

    def _note_progress(self) -> None:
        """Note that everything is restored, if it is."""
        was_starting = self._state is SubscriptionState.STARTING
        is_pending = was_starting or self._state is SubscriptionState.RECOVERING
        if not is_pending or self._recovering or not self._is_complete():
            return
        self._move(SubscriptionEvent.RESTORED)
        self._has_consumed = True
        for queue in self._topology:
            queue.was_cancelled = False
        if not was_starting:
            self._counts["restored"] += 1
            logger.info("Consuming again from %s.", self._names())

    # --- helpers

    def _move(self, event: SubscriptionEvent) -> None:
        self._state = next_subscription_state(self._state, event)

    def _is_wanted(self, queue: QueueDeclaration) -> bool:
        return queue in self._topology and (queue.ends_with_consumer or not self._topology.is_held)

    def _is_complete(self) -> bool:
        return not self._missing()

    def _is_consumed(self, queue: QueueDeclaration) -> bool:
        channel, tag = self._channel_of(queue), queue.consumer_tag
        return tag in self._queue_of_tag and channel is not None and channel.has_consumer(tag)

    def _missing(self) -> list[QueueDeclaration]:
        wanted = filter(self._is_wanted, self._topology)
        return [queue for queue in wanted if not self._is_consumed(queue)]

    def _drop_channel(self) -> None:
        if self._channel is not None:
            # If `check` has found the end of the channel, its callbacks may be removed already.
            with contextlib.suppress(KeyError):
                self._channel.on_end.remove(self._on_channel_end)
                self._channel.on_cancel.remove(self._on_cancel)
        self._channel = None
        self._queue_of_tag = {
            tag: queue
            for tag, queue in self._queue_of_tag.items()
            if self._own_channels.get(queue) is not None
        }
        self._cancelled_tags.clear()

    def _names(self) -> str:
        return ", ".join(repr(queue.name) for queue in self._topology) or "no queue"
