"""A queue: its messages in order, its consumers in turn, and when messages leave it."""

from __future__ import annotations

import enum
import heapq
import math
from bisect import insort_right
from collections import deque
from collections.abc import Callable, Collection, Iterator
from typing import Any, Protocol

from postage.broker.core.backlog import AT_ONCE, Backlog
from postage.broker.core.clock import Timer, Timers
from postage.broker.core.costs import queue_cost
from postage.broker.core.queue_arguments import QueueArguments
from postage.broker.wire.content import MessageHeader, PublishedMessage, address_parts

__all__ = ["BrokerQueue", "QueueConsumer", "QueuedMessage", "Return"]


class QueuedMessage:
    """A message in one queue: a flat object, because a queue may hold a million of them.

    Queues with the same message share the objects *address*, *header* and *body*.
    """

    __slots__ = (
        "address",
        "body",
        "deliveries",
        "expires_at",
        "failures",
        "header",
        "level",
        "seq",
    )

    OVERHEAD = 200
    """Estimated bytes of memory of a queued message besides its address, header and body."""

    def __init__(
        self,
        address: bytes,
        header: MessageHeader,
        body: bytes,
        level: int = 0,
        expires_at: float | None = None,
    ) -> None:
        self.address, self.header, self.body = address, header, body
        self.level, self.expires_at = level, expires_at
        self.deliveries = 0
        """How often it has left the queue for a consumer."""
        self.failures = 0
        """How many deliveries have failed; only quorum queues count them."""
        self.seq = 0
        """Its rank among the messages that have left the queue; see `BrokerQueue.requeue`."""

    @property
    def redelivered(self) -> bool:
        """Whether this delivery is not the first one."""
        return self.deliveries > 1

    @property
    def size(self) -> int:
        """Estimated bytes of memory."""
        header = self.header
        size = self.OVERHEAD + len(self.address) + len(header.data) + len(self.body)
        return size + header.keys_cost

    @property
    def message(self) -> PublishedMessage:
        """The message as it was published."""
        exchange, key = address_parts(self.address)
        return PublishedMessage(exchange, key, self.header, self.body, self.address)


class Return(enum.Enum):
    """Why a message that was delivered comes back to its queue."""

    GIVEN_BACK = enum.auto()
    """The client has not begun with it: basic.nack or basic.recover."""
    REJECTED = enum.auto()
    """The client has failed: basic.reject."""
    LOST = enum.auto()
    """The channel has ended."""


class QueueConsumer(Protocol):
    """A consumer as its queue sees it."""

    priority: int
    exclusive: bool

    def is_ready(self) -> bool:
        """Tell whether the consumer takes one more message now."""

    def deliver(self, queue: BrokerQueue, queued: QueuedMessage) -> bool:
        """Take *queued*; return whether the broker keeps it until the client acknowledges it."""

    def cancelled(self) -> None:
        """Tell the client that the queue has been deleted."""


class ConsumerRotation:
    """The consumers of a queue by priority, and in turn among those of equal priority.

    A consumer that cannot take a message when its turn comes waits outside the rotation.  When it
    is ready again, its turn comes after that of the others, as in RabbitMQ.  With *single*, one
    consumer gets all messages until it is removed.
    """

    def __init__(self, *, single: bool) -> None:
        self._single = single
        self._active: QueueConsumer | None = None
        """The consumer that gets all messages, if *single*."""
        self._turn: list[QueueConsumer] = []
        self._waiting: dict[QueueConsumer, None] = {}

    def __len__(self) -> int:
        return len(self._turn) + len(self._waiting)

    def __iter__(self) -> Iterator[QueueConsumer]:
        return iter((*self._turn, *self._waiting))

    def add(self, consumer: QueueConsumer) -> None:
        """Add *consumer* behind those of its priority."""
        self._line_up(consumer)
        if self._active is None:
            self._active = consumer

    def _line_up(self, consumer: QueueConsumer) -> None:
        turn = self._turn
        if not turn or turn[-1].priority >= consumer.priority:  # nearly always
            turn.append(consumer)
        else:
            insort_right(turn, consumer, key=lambda each: -each.priority)

    def remove(self, consumers: Collection[QueueConsumer]) -> None:
        """Remove *consumers*."""
        self._turn = [each for each in self._turn if each not in consumers]
        for consumer in consumers:
            self._waiting.pop(consumer, None)
        if self._active in consumers:
            self._active = next(iter(self), None)

    def next(self) -> QueueConsumer | None:
        """Return the consumer of the next message, or None if no consumer is ready."""
        if self._single:
            return self._active if self._active is not None and self._active.is_ready() else None
        while self._turn:
            consumer = self._turn[0]
            if consumer.is_ready():
                if len(self._turn) > 1 and self._turn[1].priority == consumer.priority:
                    self._line_up(self._turn.pop(0))
                return consumer
            self._waiting[self._turn.pop(0)] = None
        return None

    def wake(self) -> None:
        """Let consumers that are ready again rejoin the rotation."""
        for consumer in tuple(self._waiting):
            if consumer.is_ready():
                del self._waiting[consumer]
                self._line_up(consumer)


DeadLetter = Callable[["BrokerQueue", QueuedMessage, str], None]
"""Publishes a message that has left a queue, with the reason, to the dead letter exchange."""


class BrokerQueue:
    """One queue.  It calls *dead_letter* and *account* for messages, and never a client."""

    counts_deliveries = False
    """Whether the header of a delivery says how often there were others: see `header_of`."""

    def __init__(  # noqa: PLR0913 - the properties of a declaration
        self,
        name: str,
        *,
        durable: bool,
        auto_delete: bool,
        owner: object | None,
        arguments: dict[str, Any],
        options: QueueArguments,
        timers: Timers,
        dead_letter: DeadLetter,
        account: Callable[[int], None],
        backlog: Backlog,
    ) -> None:
        self.name, self.durable, self.auto_delete = name, durable, auto_delete
        self.owner = owner
        """The connection that the queue is exclusive to, or None."""
        self.arguments, self.options = arguments, options
        self.had_consumers = False
        self._count = 0
        self.unacked = 0
        self.body_bytes = 0
        """Total size of the bodies of the messages that are ready."""
        self.last_use = timers.now()
        self.use_timer: Timer | None = None
        """Checks from time to time whether the queue is unused and has to be deleted."""
        self._timers, self._publish_dead_letter, self._account = timers, dead_letter, account
        self._backlog = backlog
        self._last_seq = 0
        self._is_limited = self.options.max_length is not None or self.options.max_bytes is not None
        self._may_expire = False
        """Whether any message so far had an expiry; if not, `expire` has nothing to look for."""
        self._levels: list[deque[QueuedMessage]] = [
            deque() for _ in range((self.options.max_priority or 0) + 1)
        ]
        """Messages that have never left the queue, by priority, the lowest first."""
        self._returned: list[list[tuple[int, QueuedMessage]]] = [[] for _ in self._levels]
        """Heaps of the messages that have come back, by priority; they are before all others."""
        self._go_on: Timer | None = None
        """Continues `dispatch`, which had too much to do."""
        self.cost = queue_cost(name, arguments, len(self._levels))
        """Estimated bytes of memory of the queue without its messages."""
        self._consumers = ConsumerRotation(single=self.options.single_active)
        self._expiry: Timer | None = None
        self._wakes_at = math.inf

    def __len__(self) -> int:
        return self._count

    def __repr__(self) -> str:
        return f"<BrokerQueue {self.name!r}: {len(self)} ready, {self.unacked} unacked>"

    # --- in

    def accepts(self, message: PublishedMessage) -> bool:
        """Tell whether *message* may enter: a full queue with ``reject-publish`` refuses it."""
        return not (
            self._is_limited
            and self.options.overflow.startswith("reject-publish")
            and self._overflows(1, len(message.body))
        )

    def publish(self, message: PublishedMessage, level: int | None = None) -> bool:
        """Put *message* into the queue if the queue accepts it; return whether it does.

        *level* is its priority here, if that is not the one in its header.
        """
        header, own_ttl = message.header, self.options.message_ttl
        if level is None:
            level = header.priority and min(header.priority, len(self._levels) - 1)
        expires_at = None
        if header.ttl is not None or own_ttl is not None:
            ttl = min(each for each in (header.ttl, own_ttl) if each is not None)
            expires_at = self._timers.now() + ttl
            self._may_expire = True
        queued = QueuedMessage(message.address, header, message.body, level, expires_at)
        if self._is_limited and not self.accepts(message):
            if self.options.overflow == "reject-publish-dlx":
                self._publish_dead_letter(self, queued, "maxlen")
            return False
        if not self._count and (consumer := self._consumers.next()) is not None:
            if consumer.deliver(self, self._mark_delivered(queued)):
                self._account(queued.size)
            return True
        self._account(queued.size)
        self._levels[level].append(queued)
        self._count += 1
        self.body_bytes += len(queued.body)
        if self.had_consumers or self._is_limited or self._may_expire:
            self.dispatch()
        return True

    def _overflows(self, more: int, more_bytes: int) -> bool:
        options = self.options
        too_many = options.max_length is not None and len(self) + more > options.max_length
        too_big = options.max_bytes is not None and self.body_bytes + more_bytes > options.max_bytes
        return too_many or too_big

    def requeue(self, queued: QueuedMessage, cause: Return = Return.REJECTED) -> None:  # noqa: ARG002
        """Put *queued* back to its old place; *cause* matters to quorum queues only."""
        heapq.heappush(self._returned[queued.level], (queued.seq, queued))
        self._add(queued)

    def _add(self, queued: QueuedMessage) -> None:
        """Count *queued*, which is ready again."""
        self._count += 1
        self.body_bytes += len(queued.body)

    def header_of(self, queued: QueuedMessage, *, is_got: bool = False) -> bytes:  # noqa: ARG002
        """Return the encoded header of *queued* for a consumer, or for basic.get if *is_got*."""
        return queued.header.data

    # --- out

    def _pop(self) -> QueuedMessage:
        # Most queues have one level only: try the highest before searching.
        at = -1 if self._levels[-1] or self._returned[-1] else self._highest()
        returned = self._returned[at]
        queued = heapq.heappop(returned)[1] if returned else self._levels[at].popleft()
        self._count -= 1
        self.body_bytes -= len(queued.body)
        return queued

    def _mark_delivered(self, queued: QueuedMessage) -> QueuedMessage:
        """Count one more delivery of *queued*, and give it its rank for `requeue`."""
        queued.deliveries += 1
        if not queued.seq:
            self._last_seq += 1
            queued.seq = self._last_seq
        return queued

    def _head(self) -> QueuedMessage | None:
        if not self._count:
            return None
        at = self._highest()
        return self._returned[at][0][1] if self._returned[at] else self._levels[at][0]

    def _highest(self) -> int:
        """Return the highest priority of which there are messages, counted from the end."""
        at = -1
        while not self._levels[at] and not self._returned[at]:
            at -= 1
        return at

    def get(self) -> QueuedMessage | None:
        """Take the next message out of the queue and return it; None if the queue is empty."""
        self.last_use = self._timers.now()
        if not self.expire() or not self._count:
            return None
        queued = self._mark_delivered(self._pop())
        if self._may_expire:
            self._watch_head()
        return queued

    @property
    def left(self) -> int:
        """How many messages were ready after the last `get`, as basic.get-ok with ack tells."""
        return self._count

    def discard(self, queued: QueuedMessage) -> None:
        """Release the memory charged for *queued*, which has left the queue for good."""
        self._account(-queued.size)

    def dead_letter(self, queued: QueuedMessage, reason: str) -> None:
        """Discard *queued*, which has left the queue already, and publish it as a dead letter."""
        self.discard(queued)
        self._publish_dead_letter(self, queued, reason)

    def purge(self) -> int:
        """Discard all messages that are ready; return their number.

        A million messages are freed in several turns of the hub; they are not in the queue then.
        """
        count, self._count, self.body_bytes = self._count, 0, 0
        levels, self._levels = self._levels, [deque() for _ in self._levels]
        returned, self._returned = self._returned, [[] for _ in levels]
        for level in levels:
            self._backlog.each(level, self._free, "messages that are freed")
        for heap in returned:
            self._backlog.each(
                deque(each for _, each in heap), self._free, "messages that are freed"
            )
        return count

    def _free(self, messages: list[QueuedMessage]) -> None:
        self._account(-sum(queued.size for queued in messages))

    def expire(self) -> bool:
        """Dead-letter expired messages at the head, `AT_ONCE` at most; return whether all are gone.

        An expired message behind one that lives longer stays until it reaches the head.
        """
        if not self._may_expire:
            return True
        now = self._timers.now()
        with self._backlog:
            for _ in range(AT_ONCE):
                queued = self._pop_expired(now)
                if queued is None:
                    return True
                self.dead_letter(queued, "expired")
        self._dispatch_later()
        return False

    def _pop_expired(self, now: float) -> QueuedMessage | None:
        """Take a message out of the queue that is due to leave because it has expired."""
        return self._pop() if self._next_expiry() <= now else None

    def _next_expiry(self) -> float:
        """Return when the next message leaves because it expires."""
        head = self._head()
        return math.inf if head is None or head.expires_at is None else head.expires_at

    def _watch_head(self) -> bool:
        """Set a timer for the expiry of the message at the head; an early timer does no harm.

        Returns whether there are no expired messages at the head.
        """
        if not self.expire():
            return False
        expiry = self._next_expiry()
        if expiry >= self._wakes_at:
            return True
        if self._expiry is not None:
            self._expiry.cancel()
        self._wakes_at = expiry
        delay = max(0.0, expiry - self._timers.now())
        self._expiry = self._timers.later(delay, self._expire_and_watch)
        return True

    def _expire_and_watch(self) -> None:
        self._expiry, self._wakes_at = None, math.inf
        self._watch_head()

    # --- consumers

    @property
    def consumers(self) -> list[QueueConsumer]:
        """The consumers of the queue, the next to be served first."""
        return list(self._consumers)

    @property
    def consumer_count(self) -> int:
        """The number of consumers, which may be very many."""
        return len(self._consumers)

    @property
    def has_exclusive_consumer(self) -> bool:
        """Whether the only consumer is an exclusive one."""
        return self.consumer_count == 1 and self.consumers[0].exclusive

    def add_consumer(self, consumer: QueueConsumer) -> None:
        """Serve *consumer* from now on; consumers of a higher priority come first."""
        self.had_consumers = True
        self._consumers.add(consumer)

    def remove_consumer(self, consumer: QueueConsumer) -> None:
        """Stop serving *consumer*."""
        self.remove_consumers((consumer,))

    def remove_consumers(self, consumers: Collection[QueueConsumer]) -> None:
        """Stop serving *consumers*."""
        self.last_use = self._timers.now()
        self._consumers.remove(consumers)

    def dispatch(self) -> None:
        """Drop messages over the limits, and deliver messages while a consumer is ready.

        With more than `AT_ONCE` messages to deliver or to drop, it goes on in a later turn.
        """
        self._consumers.wake()
        if not self._count:
            return
        if self._is_limited:
            self._trim()
        if self._may_expire and not self._watch_head():
            return
        for _ in range(AT_ONCE):
            if not self._count or (consumer := self._consumers.next()) is None:
                return
            queued = self._mark_delivered(self._pop())
            if not consumer.deliver(self, queued):
                self.discard(queued)
            if self._may_expire and not self._watch_head():
                return
        self._dispatch_later()

    def _dispatch_later(self) -> None:
        if self._go_on is None:
            self._go_on = self._timers.later(0, self._dispatch_more)

    def _dispatch_more(self) -> None:
        self._go_on = None
        self.dispatch()

    def _trim(self) -> None:
        """Dead-letter messages at the head until the rest is within the limits."""
        if self.options.overflow != "drop-head":
            return
        with self._backlog:
            for _ in range(AT_ONCE):
                if not self._count or not self._overflows(0, 0):
                    return
                self.dead_letter(self._pop(), "maxlen")
        self._dispatch_later()

    def close(self) -> None:
        """Discard all messages, without dead-lettering them, and cancel all consumers."""
        self.purge()
        if self._expiry is not None:
            self._expiry.cancel()
        if self._go_on is not None:
            self._go_on.cancel()
        consumers = self.consumers
        self._consumers.remove(set(consumers))
        self._backlog.each(consumers, _cancel, "cancelled consumers")


def _cancel(consumers: list[QueueConsumer]) -> None:
    for consumer in consumers:
        consumer.cancelled()
