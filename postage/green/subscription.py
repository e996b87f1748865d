"""What keeps a consumer consuming: through lost connections and channels, until it is stopped."""

from __future__ import annotations

import contextlib
import logging
import math
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, Protocol

import gevent
import gevent.event
import gevent.hub
import gevent.lock

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
from postage.green.amqp.pair import Pair
from postage.green.pipelining import AT_ONCE
from postage.green.pool import Pool
from postage.green.topology import QueueDeclaration, Topology, may_pass

__all__ = ["Subscription", "declare"]

logger = logging.getLogger(__name__)

LASTED = 5.0
"""Seconds after which consuming has lasted: what ends it then is mended at once."""


STARTING = 32
"""How many subscriptions of a pair begin at a time: each takes a greenlet for as long."""
CHECK_INTERVAL = 2.0
"""Seconds between two checks of all consumers of a pair."""


def _gate(_pair: Pair) -> gevent.lock.BoundedSemaphore:
    return gevent.lock.BoundedSemaphore(AT_ONCE)


def declare(pair: Pair, connection: Connection, queue: QueueDeclaration) -> None:
    """Declare *queue*, its exchanges and bindings on *connection*; switches.

    Its name and home are set then.  Raises what `Channel` does.
    """
    with pair.companion(_gate):
        try:
            _declare(connection, queue)
        except ChannelRefused as exc:
            gone = [each for each, _ in queue.bindings if exc.misses(each.name)]
            if not gone:
                raise
            # Somebody deleted it since this connection declared it.
            for exchange in gone:
                connection.discard_declaration(exchange)
            _declare(connection, queue)
    queue.home = connection


def _declare(connection: Connection, queue: QueueDeclaration) -> None:
    exchanges: dict[type[Exchange], None] = dict.fromkeys(each for each, _ in queue.bindings)
    for exchange in exchanges:
        connection.declare(exchange)
    with connection.lease() as channel:
        bindings = [(exchange.name, key) for exchange, key in queue.bindings]
        queue.name = channel.queue_declare_bound(queue.asked, queue.flags, bindings)


class Subscription:
    """The AMQP consumers of one component, one for each of its queues.

    While something is amiss one greenlet, its keeper, waits for the connection, declares what that
    does not know, and consumes; it ends when all is well.  At the beginning everything is amiss,
    and one of the greenlets that all beginners share does what a keeper does.  What cannot be
    mended goes to *fail*.
    """

    __slots__ = (
        *("_backoff", "_broken", "_channel", "_counts", "_topology", "_fail"),
        *("_retry_now", "_keeper", "_left", "_on_delivery", "_pair", "_stopped", "_tags"),
        *("_well_since", "prefetch"),
    )

    def __init__(
        self,
        pair: Pair,
        declarations: Topology,
        on_delivery: OnDelivery,
        fail: Callable[[Exception], None],
        counts: Counter[str],
    ) -> None:
        self.prefetch = 1
        self._pair, self._topology = pair, declarations
        self._on_delivery, self._fail, self._counts = on_delivery, fail, counts
        self._channel: Channel | None = None
        self._tags: dict[str, QueueDeclaration] = {}  # of the consumers that there are
        self._left: list[str] = []  # tags of consumers that were ended before the others
        self._keeper: Any = None  # a greenlet
        self._stopped = self._broken = False
        self._retry_now = gevent.event.Event()
        self._retry_now.set()
        self._well_since = -math.inf
        self._backoff = Backoff()

    @property
    def is_settled(self) -> bool:
        """Whether the broker has a consumer for every queue, as far as can be told from here."""
        return self._keeper is None and self._is_well()

    def _is_well(self) -> bool:
        channel = self._channel
        if channel is None or not channel.alive:
            return False
        return all(
            queue.tag in self._tags and channel.has_consumer(queue.tag) for queue in self._topology
        )

    # --- for the component

    def start(self) -> None:
        """Begin to consume, now or as soon as that can be; never switches."""
        self._pair.companion(StartupQueue).submit(self)

    def add(self, queue: QueueDeclaration) -> None:
        """Consume from *queue* as well, which is declared; switches.

        Where the channel is gone, that happens as soon as it can.  Raises `ChannelRefused`.
        """
        channel = self._channel
        if channel is None or not channel.alive or queue.tag in self._tags:
            return  # the keeper's, or another greenlet's
        try:
            self._consume(channel, queue)
        except (ConnectionLost, OperationTimeout) as exc:
            logger.debug("Not consuming yet from queue %r: %s", queue.name, exc)
            self._recover_soon()

    def leave(self, queue: QueueDeclaration) -> None:
        """Consume from *queue* no more; switches."""
        known = self._tags.pop(queue.tag, None)
        if known is not None and self._channel is not None:
            self._left.append(queue.tag)
            self._channel.cancel(queue.tag)

    def quiesce(self) -> None:
        """End the consumers; what is here can still be settled.

        Does not wait for the broker, which may be silent, nor for a connection.
        """
        self._stopped = True
        self._pair.companion(ConsumerCheck).discard(self)
        if self._keeper is not None:
            self._keeper.kill()
        for tag in self._tags:
            if self._channel is not None:
                self._channel.cancel_nowait(tag)

    def end(self, limit: float) -> None:
        """Give back what is here unsettled; switches, at most *limit* seconds."""
        self.quiesce()
        channel, tags = self._channel, {*self._tags, *self._left}
        self._forget_channel()
        if channel is not None:
            channel.release(tags, limit)

    # --- what happens; in the hub

    def check(self) -> None:
        """See to it that what should be there is there; for the watchdog, in the hub."""
        if self._stopped or self._keeper is not None or self._is_well():
            return
        self._counts["amiss"] += 1
        logger.warning("Consumers of %s were gone without a word; restoring them.", self._names())
        self._drop_dead()
        self._recover_later()

    def _drop_dead(self) -> None:
        channel = self._channel
        if channel is None or not channel.alive:
            self._forget_channel()
            return
        for tag in list(self._tags):
            if not channel.has_consumer(tag):
                del self._tags[tag]

    def _lost(self, error: PostageError) -> None:
        """The channel is gone, or its connection, too."""
        self._forget_channel()
        if isinstance(error, ConnectionClosed):
            self._fail(error)
            return
        self._counts["lost"] += 1
        if isinstance(error, ConnectionLost):
            self._broken = True
            self._retry_now.set()  # the pauses are for who dials
            self._recover_soon()
            return
        logger.warning("The channel of %s was closed; opening another: %s", self._names(), error)
        self._recover_later()

    def queue_of(self, tag: str) -> str:
        """Return the name of the queue with the consumer *tag*, or nothing."""
        queue = self._tags.get(tag)
        return "" if queue is None else queue.name

    def _on_cancel(self, tag: str) -> None:
        queue = self._tags.pop(tag, None)
        if queue is None:
            return
        queue.home = None
        queue.was_cancelled = True
        self._counts["cancelled"] += 1
        logger.warning(
            "The broker ended the consumer of queue %r (was it deleted, or did its leader move?); "
            "restoring it.",
            queue.name,
        )
        self._recover_later()

    def _forget_channel(self) -> None:
        if self._channel is not None:
            # Absent: that nobody would have told us of its end is what the watchdog found.
            with contextlib.suppress(KeyError):
                self._channel.on_end.remove(self._lost)
                self._channel.on_cancel.remove(self._on_cancel)
        self._channel = None
        self._tags.clear()
        self._left.clear()

    def _recover_later(self) -> None:
        """Mend, after a pause where the last time is not long ago."""
        self._broken = True
        if self._keeper is None and time.monotonic() - self._well_since > LASTED:
            self._backoff.reset()
            self._retry_now.set()
        self._recover_soon()

    def _recover_soon(self) -> None:
        if self._keeper is None and not self._stopped:
            self._keeper = gevent.spawn(self._recover)
            self._keeper.name = f"keeper of {self._names()}"

    # --- the keeper

    def begin(self) -> None:
        """Do what a keeper does, but once, without a greenlet of its own."""
        if self._keeper is not None or self._stopped:
            return
        self._pair.companion(ConsumerCheck).add(self)
        self._keeper = gevent.getcurrent()
        try:
            self._try()
        except Exception as exc:  # for whoever runs the component
            self._fail(exc)
            return
        finally:
            self._keeper = None
        if self._is_well():
            self._note_success()
        else:
            self._recover_soon()

    def _recover(self) -> None:
        try:
            while not self._is_well():
                self._pause()
                self._try()
        except Exception as exc:  # for whoever runs the component
            self._fail(exc)
        else:
            self._note_success()
        finally:
            self._keeper = None

    def _pause(self) -> None:
        if not self._retry_now.is_set():
            self._retry_now.wait(self._backoff.pause())
        self._retry_now.clear()

    def _note_success(self) -> None:
        self._well_since = time.monotonic()
        for queue in self._topology:
            queue.was_cancelled = False
        if self._broken:
            self._broken = False
            self._counts["restored"] += 1
            logger.info("Consuming again from %s.", self._names())

    def _try(self) -> None:
        """Consume from what is not consumed from, as far as that goes."""
        try:
            connection = self._pair.consuming.get(math.inf)
            channel = self._channel_of(connection)
            for queue in self._topology:
                if queue.tag not in self._tags and channel.alive:
                    self._restore(connection, channel, queue)
        except (ConnectionLost, OperationTimeout) as exc:
            logger.debug("Not consuming yet from %s: %s", self._names(), exc)

    def _channel_of(self, connection: Connection) -> Channel:
        if self._channel is not None and self._channel.alive:
            return self._channel
        self._forget_channel()
        channel = connection.consuming_channel()
        channel.on_end.append(self._lost)
        channel.on_cancel.append(self._on_cancel)
        self._channel = channel
        return channel

    def _restore(self, connection: Connection, channel: Channel, queue: QueueDeclaration) -> None:
        was_home = queue.home is connection
        try:
            if not was_home:
                declare(self._pair, connection, queue)
            if queue in self._topology and channel.alive:  # nobody left it meanwhile
                self._consume(channel, queue)
        except ChannelRefused as exc:
            queue.home = None
            if not was_home:
                self._check_refusal(exc, queue)

    def _consume(self, channel: Channel, queue: QueueDeclaration) -> None:
        # Known from here on, so that whoever leaves the queue meanwhile, the broker too, is heard.
        tag = queue.tag = new_tag()
        self._tags[tag] = queue
        try:
            channel.consume(queue.name, self._on_delivery, prefetch=self.prefetch, tag=tag)
        except BaseException:
            if self._tags.pop(tag, None) is not None:
                self._left.append(tag)
                channel.cancel_nowait(tag)
            raise

    def _check_refusal(self, error: ChannelRefused, queue: QueueDeclaration) -> None:
        """Raise *error* where it will not pass, or where there was never a consumer."""
        if self._well_since > -math.inf and may_pass(error, queue):
            logger.warning("Queue %r is not available now; trying again: %s", queue.name, error)
            return
        if queue.was_cancelled:
            raise error from ConsumerCancelled(queue.name)
        raise error

    def _names(self) -> str:
        return ", ".join(repr(queue.name) for queue in self._topology) or "no queue"


class StartupQueue:
    """Those of one pair that wait for their turn to begin."""

    def __init__(self, _pair: Pair) -> None:
        self._pool: Pool[Subscription] | None = None

    def submit(self, subscription: Subscription) -> None:
        """Have *subscription* begin when its turn comes; never switches."""
        if self._pool is None:
            self._pool = Pool(STARTING, self._begin, "starting consumers")
        self._pool.submit(subscription)

    def _begin(self, subscription: Subscription) -> None:
        try:
            subscription.begin()
        finally:
            pool = self._pool
            if pool is not None and pool.busy == 1 and not pool.waiting:
                self._pool = None
                pool.retire()


class Checked(Protocol):
    """What is looked after."""

    def check(self) -> None:
        """See to it that what should be there is there; called in the hub, must not block."""


class ConsumerCheck:
    """Looks after all consumers of one pair by one timer, which runs while there are any.

    What it finds should not happen: the end of a channel or consumer is heard of at once.  It is
    here for what nobody thought of.  A look asks this process alone, and not the broker: it costs
    about a microsecond for each queue.
    """

    def __init__(self, _pair: Pair) -> None:
        self._checked: dict[Checked, None] = {}
        self._timer: Any = None

    def add(self, checked: Checked) -> None:
        """Look after *checked*; never switches."""
        self._checked[checked] = None
        if self._timer is None:
            # Not a reason for the hub to go on: who waits for it has reasons of his own.
            self._timer = gevent.hub.get_hub().loop.timer(CHECK_INTERVAL, CHECK_INTERVAL, ref=False)
            self._timer.start(self._look)

    def discard(self, checked: Checked) -> None:
        """Leave *checked* to itself; fine when it was not looked after."""
        self._checked.pop(checked, None)
        if not self._checked and self._timer is not None:
            self._timer.close()
            self._timer = None

    def _look(self) -> None:
        for checked in list(self._checked):
            self._look_after(checked)

    @staticmethod
    def _look_after(checked: Checked) -> None:
        try:
            checked.check()
        except Exception:  # the others are looked after all the same
            logger.exception("The check could not look after %r.", checked)
