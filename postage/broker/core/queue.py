"""A queue: its messages in order, its consumers in turn, and when messages leave it."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from postage.broker.core.clock import Timer, Timers
from postage.broker.core.queue_arguments import QueueArguments
from postage.broker.wire.content import PublishedMessage, address_parts

__all__ = ["BrokerQueue", "QueueConsumer", "QueuedMessage"]


class QueuedMessage:
    """A message in a queue, flat: there may be a million of them.

    Several queues share the bytes of *address*, *header* and *body*, and nothing else.
    """

    __slots__ = (
        "address",
        "body",
        "deliveries",
        "expires_at",
        "header",
        "more_keys",
        "priority",
        "seq",
    )

    OVERHEAD = 200
    """Bytes that a queued message costs besides its header and body, about."""

    def __init__(  # noqa: PLR0913 - what a queue must know, and no object more for it
        self,
        address: bytes,
        header: bytes,
        body: bytes,
        priority: int = 0,
        expires_at: float | None = None,
        more_keys: tuple[str, ...] = (),
    ) -> None:
        self.address, self.header, self.body = address, header, body
        self.priority, self.expires_at, self.more_keys = priority, expires_at, more_keys
        self.deliveries = 0
        """How often it has left the queue to be delivered."""
        self.seq = 0
        """Its place among those that have, by which it finds back; see `BrokerQueue.requeue`."""

    @property
    def redelivered(self) -> bool:
        """Whether somebody may have seen it before, now that it is out of the queue."""
        return self.deliveries > 1

    @property
    def size(self) -> int:
        """Bytes of memory, about."""
        return self.OVERHEAD + len(self.header) + len(self.body)

    @property
    def message(self) -> PublishedMessage:
        """What was published."""
        message = PublishedMessage(*address_parts(self.address), self.header, self.body)
        message.more_keys = self.more_keys
        return message


class QueueConsumer(Protocol):
    """Who takes messages from a queue."""

    priority: int
    exclusive: bool

    def is_ready(self) -> bool:
        """Whether it takes one more now."""

    def deliver(self, queue: BrokerQueue, entry: QueuedMessage) -> bool:
        """Take *entry*; return whether it is to be kept until it is settled."""

    def cancelled(self) -> None:
        """The queue is gone."""


class ConsumerRotation:
    """ConsumerRotation by priority, and in turn among those of the same.

    One that was asked and could not take a message waits outside; when it can again, its turn comes
    after that of the others (so does RabbitMQ).  *single*: one alone is served until it goes.
    """

    def __init__(self, *, single: bool) -> None:
        self._single = single
        self._active: QueueConsumer | None = None
        """The one that is served, where it is one alone."""
        self._turn: list[QueueConsumer] = []
        self._waiting: list[QueueConsumer] = []

    def __len__(self) -> int:
        return len(self._turn) + len(self._waiting)

    def __iter__(self) -> Iterator[QueueConsumer]:
        return iter((*self._turn, *self._waiting))

    def add(self, consumer: QueueConsumer) -> None:
        """Serve *consumer* from now on."""
        self._line_up(consumer)
        if self._active is None:
            self._active = consumer

    def _line_up(self, consumer: QueueConsumer) -> None:
        at = len(self._turn)
        while at and self._turn[at - 1].priority < consumer.priority:
            at -= 1
        self._turn.insert(at, consumer)

    def remove(self, consumer: QueueConsumer) -> None:
        """Serve *consumer* no more."""
        for place in (self._turn, self._waiting):
            if consumer in place:
                place.remove(consumer)
        if self._active is consumer:
            self._active = next(iter(self), None)

    def next(self) -> QueueConsumer | None:
        """Return the one that takes the next message; None: nobody can now."""
        if self._single:
            return self._active if self._active is not None and self._active.is_ready() else None
        while self._turn:
            consumer = self._turn[0]
            if consumer.is_ready():
                if len(self._turn) > 1:
                    self._line_up(self._turn.pop(0))
                return consumer
            self._waiting.append(self._turn.pop(0))
        return None

    def wake(self) -> None:
        """Let those that can take messages again join in."""
        if not self._waiting:
            return
        for consumer in [each for each in self._waiting if each.is_ready()]:
            self._waiting.remove(consumer)
            self._line_up(consumer)


DeadLetter = Callable[["BrokerQueue", QueuedMessage, str], None]


class BrokerQueue:
    """One queue.  *dead_letter* is called with what leaves it unwillingly, and why."""

    def __init__(  # noqa: PLR0913 - what a declaration says
        self,
        name: str,
        *,
        vhost: str = "/",
        durable: bool,
        auto_delete: bool,
        owner: object | None,
        arguments: dict[str, Any],
        timers: Timers,
        dead_letter: DeadLetter,
        account: Callable[[int], None],
    ) -> None:
        self.name, self.durable, self.auto_delete = name, durable, auto_delete
        self.owner = owner
        """The connection it is exclusive to, or None."""
        self.arguments = arguments
        self.options = QueueArguments.parse(arguments, name, vhost)
        self.had_consumers = False
        self._count = 0
        self.unacked = 0
        self.body_bytes = 0
        """Of the messages that are ready."""
        self.last_use = timers.now()
        self._timers, self._dead_letter, self._account = timers, dead_letter, account
        self._last_seq = 0
        self._is_limited = self.options.max_length is not None or self.options.max_bytes is not None
        self._is_mortal = False
        """Whether there ever was a message that expires: else nobody need look for one."""
        levels = (self.options.max_priority or 0) + 1
        self._levels: list[deque[QueuedMessage]] = [deque() for _ in range(levels)]
        self._consumers = ConsumerRotation(single=self.options.single_active)
        self._expiry: Timer | None = None
        self._wakes_at = math.inf

    def __len__(self) -> int:
        return self._count

    def __repr__(self) -> str:
        return f"<BrokerQueue {self.name!r}: {len(self)} ready, {self.unacked} unacked>"

    @property
    def counts(self) -> bool:
        """Whether deliveries tell how often there was one before, as those of quorum queues do."""
        return self.options.type == "quorum"

    # --- in

    @property
    def rejects(self) -> bool:
        """Whether it rejects publishes when it is full; else what is over the limits leaves."""
        return self._is_limited and self.options.overflow.startswith("reject-publish")

    def accepts(self, message: PublishedMessage) -> bool:
        """Whether *message* may come in; a full queue that rejects publishes says no."""
        return not (self.rejects and self._overflows(1, len(message.body)))

    def publish(self, message: PublishedMessage) -> None:
        """Take *message* if it accepts it."""
        if self.accepts(message):
            self.put(self._entry(message))
        elif self.options.overflow == "reject-publish-dlx":
            self._dead_letter(self, self._entry(message), "maxlen")

    def put(self, entry: QueuedMessage) -> None:
        """Take *entry*; what is over the limits leaves at the head."""
        if not self._count and (consumer := self._consumers.next()) is not None:
            if consumer.deliver(self, self._marked(entry)):
                self._account(entry.size)
            return
        self._account(entry.size)
        self._levels[entry.priority].append(entry)
        self._added(entry)
        self.dispatch()

    def _entry(self, message: PublishedMessage) -> QueuedMessage:
        priority, ttl = 0, None
        if not message.is_plain:
            properties = message.properties
            priority = min(properties.get("priority") or 0, len(self._levels) - 1)
            ttl = _seconds(properties.get("expiration"))
        expires_at = self.deadline(ttl)
        return QueuedMessage(
            message.address, message.header, message.body, priority, expires_at, message.more_keys
        )

    @property
    def ages(self) -> bool:
        """Whether it gives all messages a time to live."""
        return self.options.message_ttl is not None

    def deadline(self, ttl: float | None) -> float | None:
        """Return when a message expires that comes now and has *ttl* seconds to live."""
        own = self.options.message_ttl
        ttls = [each for each in (own, ttl) if each is not None]
        return self._timers.now() + min(ttls) if ttls else None

    def _overflows(self, more: int, more_bytes: int) -> bool:
        options = self.options
        too_many = options.max_length is not None and len(self) + more > options.max_length
        too_big = options.max_bytes is not None and self.body_bytes + more_bytes > options.max_bytes
        return too_many or too_big

    def requeue(self, entry: QueuedMessage) -> None:
        """Put *entry* back to where it was; past its delivery limit it goes to the dead letters."""
        limit = self.options.delivery_limit
        if limit is not None and entry.deliveries > limit:
            self.drop(entry, "delivery_limit")
            return
        level = self._levels[entry.priority]
        later = []
        while level and 0 < level[0].seq < entry.seq:  # 0: it has never left, so it is behind
            later.append(level.popleft())
        level.appendleft(entry)
        level.extendleft(reversed(later))
        self._added(entry)

    def _added(self, entry: QueuedMessage) -> None:
        self._count += 1
        self.body_bytes += len(entry.body)
        if entry.expires_at is not None:
            self._is_mortal = True

    # --- out

    def _pop(self) -> QueuedMessage:
        # The highest level, in most queues the only one, without looking further.
        level = self._levels[-1] or next(level for level in reversed(self._levels) if level)
        entry = level.popleft()
        self._count -= 1
        self.body_bytes -= len(entry.body)
        return entry

    def _marked(self, entry: QueuedMessage) -> QueuedMessage:
        """Return *entry*, which goes out to be delivered and must find back to its place."""
        entry.deliveries += 1
        if not entry.seq:
            self._last_seq += 1
            entry.seq = self._last_seq
        return entry

    def _head(self) -> QueuedMessage | None:
        if not self._count:
            return None
        return next(level[0] for level in reversed(self._levels) if level)

    def get(self) -> QueuedMessage | None:
        """Return the next message, taken out of the queue, or None."""
        self.last_use = self._timers.now()
        self.expire()
        if not self._count:
            return None
        entry = self._marked(self._pop())
        self._watch_head()
        return entry

    def forget(self, entry: QueuedMessage) -> None:
        """Count an *entry* that is out of the queue for good no more."""
        self._account(-entry.size)

    def purge(self) -> int:
        """Throw away all that is ready; return how many that was."""
        count = len(self)
        for _ in range(count):
            self.forget(self._pop())
        return count

    def drop(self, entry: QueuedMessage, reason: str) -> None:
        """Let go of an *entry* that is out of the queue already."""
        self.forget(entry)
        self._dead_letter(self, entry, reason)

    def expire(self) -> None:
        """Drop what has expired at the head; behind a message that lives longer it stays."""
        if not self._is_mortal:
            return
        now = self._timers.now()
        while (head := self._head()) and head.expires_at is not None and head.expires_at <= now:
            self.drop(self._pop(), "expired")

    def _watch_head(self) -> None:
        """Wake up when the message at the head expires; a timer that is early does no harm."""
        if not self._is_mortal:
            return
        self.expire()
        head = self._head()
        if head is None or head.expires_at is None or head.expires_at >= self._wakes_at:
            return
        if self._expiry is not None:
            self._expiry.cancel()
        self._wakes_at = head.expires_at
        delay = max(0.0, head.expires_at - self._timers.now())
        self._expiry = self._timers.later(delay, self._expire_and_watch)

    def _expire_and_watch(self) -> None:
        self._expiry, self._wakes_at = None, math.inf
        self.expire()
        self._watch_head()

    # --- consumers

    @property
    def consumers(self) -> list[QueueConsumer]:
        """Those of the queue, the next to be served first."""
        return list(self._consumers)

    def add_consumer(self, consumer: QueueConsumer) -> None:
        """Serve *consumer* from now on; higher priorities are served first."""
        self.had_consumers = True
        self._consumers.add(consumer)

    def remove_consumer(self, consumer: QueueConsumer) -> None:
        """Serve *consumer* no more."""
        self.last_use = self._timers.now()
        self._consumers.remove(consumer)

    def dispatch(self) -> None:
        """Drop what is too much, and hand out messages while somebody takes them."""
        self._consumers.wake()
        if not self._count:
            return
        if self._is_limited:
            self._trim()
        self._watch_head()
        while self._count and (consumer := self._consumers.next()) is not None:
            entry = self._marked(self._pop())
            if not consumer.deliver(self, entry):
                self.forget(entry)
            if self._is_mortal:
                self._watch_head()

    def _trim(self) -> None:
        """Drop messages at the head until the rest is within the limits."""
        while self.options.overflow == "drop-head" and self._count and self._overflows(0, 0):
            self.drop(self._pop(), "maxlen")

    def close(self) -> None:
        """The queue is deleted: nothing is dead-lettered, consumers hear of it."""
        self.purge()
        if self._expiry is not None:
            self._expiry.cancel()
        for consumer in self.consumers:
            self._consumers.remove(consumer)
            consumer.cancelled()


def _seconds(expiration: str | None) -> float | None:
    """Return a message's own time to live; the channel has checked that it is a number."""
    return None if expiration is None else int(expiration) / 1000
