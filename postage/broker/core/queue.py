"""A queue: its messages in order, its consumers in turn, and when messages leave it."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from typing import Any

from postage.broker.core.clock import Timer, Timers
from postage.broker.core.consumers import Consumer, Consumers
from postage.broker.core.entry import Entry
from postage.broker.core.queue_arguments import QueueArguments
from postage.broker.wire.content import Message

__all__ = ["Entry", "Queue"]


DeadLetter = Callable[["Queue", Entry, str], None]


class Queue:
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
        self._levels: list[deque[Entry]] = [deque() for _ in range(levels)]
        self._consumers = Consumers(single=self.options.single_active)
        self._expiry: Timer | None = None
        self._wakes_at = math.inf

    def __len__(self) -> int:
        return self._count

    def __repr__(self) -> str:
        return f"<Queue {self.name!r}: {len(self)} ready, {self.unacked} unacked>"

    @property
    def counts(self) -> bool:
        """Whether deliveries tell how often there was one before, as those of quorum queues do."""
        return self.options.type == "quorum"

    # --- in

    @property
    def rejects(self) -> bool:
        """Whether it rejects publishes when it is full; else what is over the limits leaves."""
        return self._is_limited and self.options.overflow.startswith("reject-publish")

    def accepts(self, message: Message) -> bool:
        """Whether *message* may come in; a full queue that rejects publishes says no."""
        return not (self.rejects and self._overflows(1, len(message.body)))

    def publish(self, message: Message) -> None:
        """Take *message* if it accepts it."""
        if self.accepts(message):
            self.put(self._entry(message))
        elif self.options.overflow == "reject-publish-dlx":
            self._dead_letter(self, self._entry(message), "maxlen")

    def put(self, entry: Entry) -> None:
        """Take *entry*; what is over the limits leaves at the head."""
        if not self._count and (consumer := self._consumers.next()) is not None:
            if consumer.deliver(self, self._marked(entry)):
                self._account(entry.size)
            return
        self._account(entry.size)
        self._levels[entry.priority].append(entry)
        self._added(entry)
        self.dispatch()

    def _entry(self, message: Message) -> Entry:
        priority, ttl = 0, None
        if not message.is_plain:
            properties = message.properties
            priority = min(properties.get("priority") or 0, len(self._levels) - 1)
            ttl = _seconds(properties.get("expiration"))
        expires_at = self.deadline(ttl)
        return Entry(
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

    def requeue(self, entry: Entry) -> None:
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

    def _added(self, entry: Entry) -> None:
        self._count += 1
        self.body_bytes += len(entry.body)
        if entry.expires_at is not None:
            self._is_mortal = True

    # --- out

    def _pop(self) -> Entry:
        # The highest level, in most queues the only one, without looking further.
        level = self._levels[-1] or next(level for level in reversed(self._levels) if level)
        entry = level.popleft()
        self._count -= 1
        self.body_bytes -= len(entry.body)
        return entry

    def _marked(self, entry: Entry) -> Entry:
        """Return *entry*, which goes out to be delivered and must find back to its place."""
        entry.deliveries += 1
        if not entry.seq:
            self._last_seq += 1
            entry.seq = self._last_seq
        return entry

    def _head(self) -> Entry | None:
        if not self._count:
            return None
        return next(level[0] for level in reversed(self._levels) if level)

    def get(self) -> Entry | None:
        """Return the next message, taken out of the queue, or None."""
        self.last_use = self._timers.now()
        self.expire()
        if not self._count:
            return None
        entry = self._marked(self._pop())
        self._watch_head()
        return entry

    def forget(self, entry: Entry) -> None:
        """Count an *entry* that is out of the queue for good no more."""
        self._account(-entry.size)

    def purge(self) -> int:
        """Throw away all that is ready; return how many that was."""
        count = len(self)
        for _ in range(count):
            self.forget(self._pop())
        return count

    def drop(self, entry: Entry, reason: str) -> None:
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
    def consumers(self) -> list[Consumer]:
        """Those of the queue, the next to be served first."""
        return list(self._consumers)

    def add_consumer(self, consumer: Consumer) -> None:
        """Serve *consumer* from now on; higher priorities are served first."""
        self.had_consumers = True
        self._consumers.add(consumer)

    def remove_consumer(self, consumer: Consumer) -> None:
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
