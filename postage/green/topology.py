"""The queues and bindings of one consumer as data, so that they can be declared again.  Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from postage.addressing import Key, QueueSpec, check_flags, queue_name_and_flags
from postage.errors import ChannelRefused, PostageError, SettingsError
from postage.exchange import Exchange
from postage.green.amqp.backoff import Backoff
from postage.green.amqp.stream_reader import StreamReader
from postage.protocol import NOT_FOUND
from postage.queues import limit_may_miss
from postage.typed_queue import ConsumerOptions, TypedQueue, options_of

__all__ = ["QueueDeclaration", "Topology", "declaration_of", "in_use", "may_pass", "merged_options"]

_IN_USE = "in exclusive use"
"""In the refusals of consumers (403) while another one has the queue for itself."""


@dataclass(eq=False, slots=True)
class QueueDeclaration:
    """One queue that a consumer listens to, and its bindings."""

    name: str
    """The name of the queue on the broker."""
    requested_name: str
    """The name in the declaration; empty if the broker shall choose the name."""
    flags: dict[str, Any]
    bindings: dict[tuple[type[Exchange], Key], None] = field(default_factory=dict)
    """Exchanges and keys, each once, in the order in which they were bound."""
    options: ConsumerOptions = field(default_factory=ConsumerOptions)
    """How to consume from it."""
    limit_may_miss: bool = False
    """Whether to use it as it is if it exists with another delivery limit."""
    reader: StreamReader | None = None
    """Where its consumer has arrived, if it is a stream."""
    declared_on: object = None
    """The connection that declared it last.  Another connection must declare it again."""
    consumer_tag: str = ""
    """The tag of its latest consumer."""
    was_cancelled: bool = False
    """True from the end of its consumer by the broker until there is a new one."""
    consuming_since: float = -math.inf
    """When its latest consumer started, by `time.monotonic`."""
    was_reported: bool = False
    """Whether it was reported that the broker does not answer about it."""
    backoff: Backoff | None = None
    """The pauses between the tries to consume from it; None before the first pause."""

    @property
    def may_vanish(self) -> bool:
        """Whether the broker may delete it when its last consumer is cancelled."""
        return self.passive or bool(self.flags.get("auto_delete"))

    @property
    def ends_with_consumer(self) -> bool:
        """Whether it is deleted with its consumer or connection, so that it must be consumed."""
        return bool(self.flags.get("exclusive") or self.flags.get("auto_delete"))

    def next_pause(self) -> float:
        """Return the seconds to pause before the next try to consume from it."""
        if self.backoff is None:
            self.backoff = Backoff()
        return self.backoff.pause()

    @property
    def passive(self) -> bool:
        """Whether the queue is used as it is: the declaration creates nothing."""
        return bool(self.flags.get("passive"))


class Topology:
    """The queues of one consumer in the order of their declaration."""

    __slots__ = ("_nameless", "_queues", "is_held")

    def __init__(self) -> None:
        self.is_held = False
        """Whether only the queues that end with their consumers are to be consumed from."""
        # By the name in the declaration, or, of those whose name the broker chooses, by itself.
        self._queues: dict[str | QueueDeclaration, QueueDeclaration] = {}
        self._nameless = 0  # counted, so that to add a queue with a name is no look at all others

    def __iter__(self) -> Iterator[QueueDeclaration]:
        """Iterate over the queues as they are now; the topology may change meanwhile."""
        return iter([*self._queues.values()])

    def __contains__(self, queue: QueueDeclaration) -> bool:
        return self._queues.get(queue.requested_name or queue) is queue

    @property
    def queues_and_keys(self) -> list[tuple[str, Key]]:
        """The name of the queue and the key of each binding."""
        return [(queue.name, key) for queue in self for _, key in queue.bindings]

    def get(self, name: str) -> QueueDeclaration | None:
        """Return the queue with the name *name* on the broker; None if it is unknown."""
        known = self._queues.get(name)
        if known is not None or not self._nameless:
            return known
        nameless = (queue for queue in self._queues.values() if not queue.requested_name)
        return next((queue for queue in nameless if queue.name == name), None)

    def add(self, declared: QueueDeclaration) -> QueueDeclaration:
        """Add a declared queue, or its bindings to the known queue of that name; return the queue.

        If the known queue is `passive` and the new declaration is not, its flags replace those of
        the known queue.  Raises `SettingsError` if both say how to consume, and not the same.
        """
        known = self.get(declared.name)
        if known is None:
            self._queues[declared.requested_name or declared] = declared
            self._nameless += not declared.requested_name
            return declared
        if known.passive and not declared.passive:
            known.flags, known.limit_may_miss = declared.flags, declared.limit_may_miss
        known.options = merged_options(known, declared)
        known.bindings |= declared.bindings
        return known

    def discard_binding(self, exchange: type[Exchange], name: str, key: Key) -> None:
        """Remove one binding of the queue *name*; the queue stays."""
        queue = self.get(name)
        if queue is not None:
            queue.bindings.pop((exchange, key), None)

    def rename(self, name: str, new_name: str, keys: Mapping[str, str]) -> None:
        """Give the queue *name* another name, and its bindings the *keys* in place of their own."""
        queue = self.discard(name)
        if queue is not None:
            queue.name = queue.requested_name = new_name
            bindings = [(exchange, keys.get(str(key), key)) for exchange, key in queue.bindings]
            queue.bindings = dict.fromkeys(bindings)
            self.add(queue)

    def discard(self, name: str) -> QueueDeclaration | None:
        """Remove the queue *name* and its bindings; return it if it was known."""
        queue = self.get(name)
        if queue is not None:
            del self._queues[queue.requested_name or queue]
            self._nameless -= not queue.requested_name
        return queue


def merged_options(known: QueueDeclaration, declared: QueueDeclaration) -> ConsumerOptions:
    """Return the options that either of two declarations of one queue has.

    Raises `SettingsError` if both have some, and not the same.
    """
    for first, second in ((known.options, declared.options), (declared.options, known.options)):
        if first == second or not (first.exclusive or first.arguments):
            return second
    raise SettingsError(
        f"queue {known.name!r} is listed twice, to consume from it by {known.options} and by "
        f"{declared.options}: write the same value of the queue beside each of its keys"
    )


def declaration_of(spec: QueueSpec, flags: Mapping[str, Any]) -> QueueDeclaration:
    """Return the declaration of the queue *spec*; *flags* override the flags of a dictionary.

    Raises `SettingsError`.
    """
    name, own_flags = queue_name_and_flags(spec)
    check_flags(name, flags)
    if flags and isinstance(spec, TypedQueue):
        raise SettingsError(f"{spec!r} has its flags as fields: leave {sorted(flags)} out")
    flags = {**own_flags, **flags}
    # RabbitMQ 4 refuses shared queues that do not survive a restart of the broker.
    flags.setdefault("durable", not flags.get("exclusive", False))
    options = options_of(spec, flags)
    return QueueDeclaration(
        name,
        name,
        flags,
        options=options,
        limit_may_miss=limit_may_miss(spec, flags),
        reader=StreamReader() if options.is_stream else None,
    )


def may_pass(error: PostageError, queue: QueueDeclaration) -> bool:
    """Return whether a later try to use *queue* may succeed although *error* refused this one.

    Another consumer may end that has the queue for itself (403), such as our own of a lost
    connection.  Another connection may release an exclusive queue (405) or channels of the user,
    and the node of a queue may start again (404).  Missing permissions, a queue with other flags,
    and what the broker does not know, stay as they are.
    """
    if not isinstance(error, ChannelRefused) or _IN_USE in error.text:
        return True
    if error.code == NOT_FOUND:
        return not _is_made_by_others(error, queue)
    return not error.is_final


def in_use(error: ChannelRefused, queue: QueueDeclaration) -> ChannelRefused:
    """Return *error* with what to do, if another consumer has *queue* for itself."""
    if _IN_USE not in error.text:
        return error
    remedy = (
        "Stop the other consumer; or let both have single_active_consumer=True in place of "
        "exclusive_consumer, and one of them waits for its turn"
    )
    return ChannelRefused(
        error.code, error.text, what=f"a consumer of queue {queue.name!r}", remedy=remedy
    )


def _is_made_by_others(error: ChannelRefused, queue: QueueDeclaration) -> bool:
    """Return whether *error* is about a queue or exchange that our declare does not create."""
    made_by_others = [("queue", queue.name)] if queue.passive else []
    made_by_others += [("exchange", each.name) for each, _ in queue.bindings if each.passive]
    return any(error.misses(name, kind) for kind, name in made_by_others)
