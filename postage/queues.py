"""The queues of RabbitMQ as values: `Quorum`, `Classic` and `Stream`.

How it works
------------
A value stands wherever a queue is named, and says the same as a dictionary: its `flags` are those
of queue.declare.  What its type of queue does not accept, or would ignore, raises `SettingsError`
where the value is made, so that the broker need not be asked.  The rules are those of RabbitMQ 3.10
to 4.3, measured.

Some fields concern the consumer and not the queue (`consumer`): the broker does not compare them,
so each program may have others.

An argument that a broker is too old for is not refused, as most are ignored there: `unmet` names
it.  A delivery limit of -1 is the exception, see `without_limit`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, ClassVar, Literal

from postage.typed_queue import TEN_YEARS, ConsumerOptions, TypedQueue, one_of
from postage.values import Rule, number, rule

# fmt: off
__all__ = [
    "DEFAULT_LIMIT", "DELIVERY_LIMIT", "UNLIMITED_SINCE", "Classic", "Quorum", "Stream", "Version",
    "limit_may_miss", "unmet", "with_limit", "without_limit",
]
# fmt: on

Version = tuple[int, ...]
"""The version of a broker, such as (4, 3, 6); empty if it is not known."""

DELIVERY_LIMIT = "x-delivery-limit"
DEFAULT_LIMIT = 20
"""The delivery limit of quorum queues that declare none, since RabbitMQ 4.0; before, no limit."""
IMPLIED = "implied_limit"
"""The key of a dictionary whose limit comes from a processor; a `Quorum` has a field."""
UNLIMITED_SINCE = (4, 0)
"""The first version that takes the limit -1 as none.  Earlier ones take it as 0: a message that
returns to its queue once is gone."""
SINCE: Mapping[str, Version] = {
    "x-consumer-timeout": (3, 12),
    "x-delayed-retry-max": (4, 3),
    "x-delayed-retry-min": (4, 3),
    "x-delayed-retry-type": (4, 3),
    "x-stream-filter": (3, 13),
}
"""The first versions of RabbitMQ that obey these arguments; earlier ones ignore them."""

LARGEST_SEGMENT = 3_000_000_000
"""Bytes of the largest segment of a stream (``x-stream-max-segment-size-bytes``)."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class _Emptied(TypedQueue):
    """A queue from which messages are taken: all but streams."""

    max_length: int | None = None
    """How many messages the queue holds; beyond that, see `overflow`."""
    message_ttl: float | None = None
    """Seconds for which a message may wait; then it becomes a dead letter.  0: it is dropped unless
    a consumer can take it at once."""
    expires: float | None = None
    """Seconds without a consumer after which the broker deletes the queue."""
    dead_letter_exchange: str | None = None
    """The exchange to which the broker publishes what is rejected, expired or too much; ``""`` is
    the default exchange, which leads to the queue that `dead_letter_routing_key` names.  None: it
    is dropped."""
    dead_letter_routing_key: str | None = None
    """The key of dead letters; None: that of the message."""
    single_active_consumer: bool = False
    """Deliver to one consumer at a time; the others wait to take its place."""
    consumer_priority: int | None = None
    """Consumers of a higher priority get messages as long as they can take more.  None: 0."""

    @property
    def consumer(self) -> ConsumerOptions:
        """How to consume from the queue."""
        return ConsumerOptions(arguments=self._priority(), keeps_turn=self.single_active_consumer)

    def _priority(self) -> dict[str, int]:
        return {} if self.consumer_priority is None else {"x-priority": self.consumer_priority}

    def _check_fields(self) -> None:
        if self.dead_letter_routing_key is not None and self.dead_letter_exchange is None:
            self._refuse('dead_letter_routing_key needs a dead_letter_exchange, which may be ""')


_OF_ALL = {
    "max_length_bytes": "x-max-length-bytes",
    "leader_locator": "x-queue-leader-locator",
}
_OF_EMPTIED = {
    **_OF_ALL,
    "max_length": "x-max-length",
    "overflow": "x-overflow",
    "message_ttl": "x-message-ttl",
    "expires": "x-expires",
    "dead_letter_exchange": "x-dead-letter-exchange",
    "dead_letter_routing_key": "x-dead-letter-routing-key",
    "single_active_consumer": "x-single-active-consumer",
}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Quorum(_Emptied):
    """A quorum queue: durable, kept by several nodes of a cluster; it counts deliveries.

    Its argument *name* may not be empty.  Raises `SettingsError` for what RabbitMQ would refuse, or
    accept without effect.
    """

    delivery_limit: int | None = None
    """How often a message may return to the queue because of a reject, or because its consumer was
    lost; one more, and it becomes a dead letter.  -1: no limit.  None: that of a policy, and else
    20 since RabbitMQ 4.0, and none before.  A processor whose ``max_deliveries`` is larger declares
    that, as far as the queue does not exist already."""
    overflow: Literal["drop-head", "reject-publish"] | None = None
    """What goes when the queue is full: its oldest message (the default), or the new one, by a
    nack."""
    dead_letter_strategy: Literal["at-most-once", "at-least-once"] | None = None
    """Whether the broker waits until a dead letter has arrived.  At-least-once needs a
    `dead_letter_exchange` and `overflow` ``"reject-publish"``."""
    delayed_retry: Literal["all", "failed", "returned", "disabled"] | None = None
    """Which returned messages wait before they are delivered again: those that count for the
    `delivery_limit` (``"failed"``), the others (``"returned"``), or all.  Since RabbitMQ 4.3."""
    delayed_retry_min: float | None = None
    """Seconds that a returned message waits, times the number of its failed deliveries."""
    delayed_retry_max: float | None = None
    """The longest of these waits."""
    consumer_timeout: float | None = None
    """Seconds after which the broker takes back what a consumer has not acknowledged; None: the
    broker's own, usually 1800."""
    initial_group_size: int | None = None
    """How many nodes keep a new queue; None: three, or what the broker is set to."""
    implied_limit: bool = field(default=False, repr=False)
    """Whether `delivery_limit` comes from a processor; see `with_limit`."""

    _type: ClassVar[str] = "quorum"
    _fields: ClassVar[Mapping[str, str]] = {
        **_OF_EMPTIED,
        "delivery_limit": DELIVERY_LIMIT,
        "dead_letter_strategy": "x-dead-letter-strategy",
        "delayed_retry": "x-delayed-retry-type",
        "delayed_retry_min": "x-delayed-retry-min",
        "delayed_retry_max": "x-delayed-retry-max",
        "consumer_timeout": "x-consumer-timeout",
        "initial_group_size": "x-quorum-initial-group-size",
    }
    _rules: ClassVar[Mapping[str, Rule]] = {
        "delivery_limit": number(-1, (1 << 31) - 1, none=True),
        "overflow": one_of("drop-head", "reject-publish"),
        "dead_letter_strategy": one_of("at-most-once", "at-least-once"),
        "delayed_retry": one_of("all", "failed", "returned", "disabled"),
    }
    _remedies: ClassVar[Mapping[str, str]] = {
        "durable": "a quorum queue is always durable, so leave durable out",
        "exclusive": "a quorum queue belongs to no connection; write Classic(name, exclusive=True)",
        "auto_delete": (
            "a quorum queue outlives its consumers; write expires=seconds, or Classic(name, "
            "auto_delete=True)"
        ),
        "exclusive_consumer": (
            "a quorum queue delivers to others all the same; write single_active_consumer=True"
        ),
        "max_priority": (
            "RabbitMQ gives all quorum queues the same priorities: none before 4.0, then two (0 to "
            "4, and above), and 32 since 4.3; leave it out, or write Classic(name, max_priority=n)"
        ),
    }

    def _check_fields(self) -> None:
        _Emptied._check_fields(self)  # noqa: SLF001 - super() does not work with slots
        if self.dead_letter_strategy == "at-least-once" and (
            self.dead_letter_exchange is None or self.overflow != "reject-publish"
        ):
            self._refuse(
                'dead_letter_strategy="at-least-once" has an effect only with a '
                'dead_letter_exchange and overflow="reject-publish"'
            )
        least, most = self.delayed_retry_min, self.delayed_retry_max
        if self.delayed_retry in (None, "disabled"):
            if least is not None or most is not None:
                self._refuse('delayed_retry_min and _max need delayed_retry, such as "all"')
        elif least is None or (most is not None and most < least):
            self._refuse("delayed_retry needs a delayed_retry_min, of at most delayed_retry_max")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Classic(_Emptied):
    """A classic queue, on one node: the type of queues that are named by a text.

    If *name* is empty, the broker chooses the name.  Raises `SettingsError` for what RabbitMQ would
    refuse.
    """

    durable: bool | None = None
    """Whether the queue survives a restart of the broker; None: unless it is `exclusive`.
    RabbitMQ 4.3 denies queues that are neither durable nor exclusive, unless it permits
    ``transient_nonexcl_queues``."""
    exclusive: bool = False
    """Whether only this connection may use the queue, which ends with it."""
    auto_delete: bool = False
    """Whether the broker deletes the queue when its last consumer has gone."""
    overflow: Literal["drop-head", "reject-publish", "reject-publish-dlx"] | None = None
    """What goes when the queue is full: its oldest message (the default), or the new one, by a
    nack, which may also become a dead letter."""
    max_priority: int | None = None
    """The highest priority of messages that the queue tells apart, at most 255; None: it does
    not."""
    mode: Literal["default", "lazy"] | None = None
    """Whether messages are on disk only (``"lazy"``); ignored since RabbitMQ 3.12."""
    exclusive_consumer: bool = False
    """Consume only if no other consumer does, and keep others away: a second process is refused
    (403).  With `single_active_consumer`, it waits."""
    version: Literal[1, 2] | None = None
    """The version of its files on disk.  RabbitMQ 4.3 has only 2."""

    _type: ClassVar[str] = "classic"
    _fields: ClassVar[Mapping[str, str]] = {
        **_OF_EMPTIED,
        "max_priority": "x-max-priority",
        "mode": "x-queue-mode",
        "version": "x-queue-version",
    }
    _rules: ClassVar[Mapping[str, Rule]] = {
        "durable": rule("True or False", lambda value: isinstance(value, bool), none=True),
        "overflow": one_of("drop-head", "reject-publish", "reject-publish-dlx"),
        "max_priority": number(1, 255, none=True),
        "mode": one_of("default", "lazy"),
        "version": number(1, 2, none=True),
    }
    _remedies: ClassVar[Mapping[str, str]] = {
        "delivery_limit": (
            "a classic queue does not count deliveries; write Quorum(name, delivery_limit=n), or "
            "set max_deliveries of the processor"
        ),
    }

    def _check_fields(self) -> None:
        _Emptied._check_fields(self)  # noqa: SLF001 - as above
        if self.exclusive_consumer and self.single_active_consumer:
            self._refuse(
                "exclusive_consumer refuses other consumers, and single_active_consumer lets them "
                "wait: choose one"
            )

    @property
    def consumer(self) -> ConsumerOptions:
        """How to consume from the queue."""
        is_alone = self.exclusive_consumer
        keeps_turn = is_alone or self.single_active_consumer
        return ConsumerOptions(is_alone, self._priority(), keeps_turn=keeps_turn)

    def _switches(self) -> dict[str, bool]:
        given = {"exclusive": self.exclusive, "auto_delete": self.auto_delete}
        switches = {name: True for name, value in given.items() if value}
        return switches if self.durable is None else {"durable": self.durable, **switches}


Offset = int | datetime | timedelta | str
"""Where to begin in a stream: see `Stream.offset`."""

_AGE = re.compile(r"[1-9][0-9]*[YMDhms]")


def _is_age(value: object) -> bool:
    if isinstance(value, str):
        return _AGE.fullmatch(value) is not None
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return is_number and 1 <= value <= TEN_YEARS and value == int(value)  # type: ignore[operator,call-overload]


def _is_offset(value: object) -> bool:
    if isinstance(value, datetime):
        return value.tzinfo is not None and value.timestamp() >= 0
    if isinstance(value, timedelta):
        return _is_age(value.total_seconds())
    if isinstance(value, str):
        return value in ("first", "last", "next") or _is_age(value)
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 63


def _is_filter(value: object) -> bool:
    values = (value,) if isinstance(value, str) else value
    if not isinstance(values, (tuple, list)) or not values:
        return False
    return all(isinstance(each, str) and each for each in values)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Stream(TypedQueue):
    """A stream: a durable log that keeps its messages, for any number of readers.

    Messages are not taken away: each consumer reads all of them, from `offset` on.  An ack only
    asks for more.  A rejected message is not delivered again, and becomes no dead letter.  The
    embedded broker has no streams.  Raises `SettingsError` for what RabbitMQ would refuse.
    """

    offset: Offset | None = None
    """Where to begin: with the ``"first"`` or ``"last"`` messages that are kept, the ``"next"`` one
    (the default), at a number, at a datetime with a time zone, or some time ago: a timedelta,
    or a text such as ``"2h"`` (units are Y, M, D, h, m and s).  After a lost connection, a consumer
    goes on with the first message that it has not settled."""
    filter: str | tuple[str, ...] | None = None
    """Only messages with one of these values in their header ``x-stream-filter-value``.  The broker
    leaves out what it can; others may arrive, too.  Since RabbitMQ 3.13."""
    match_unfiltered: bool = False
    """With `filter`: also messages without such a header."""
    max_age: float | str | None = None
    """Whole seconds, or a text such as ``"7D"``, after which messages may be dropped.  Existing
    streams are compared by the text: 3600 is ``"3600s"`` and not ``"1h"``."""
    max_segment_size: int | None = None
    """Bytes of one file of the stream; whole files are dropped.  At most 3,000,000,000."""
    initial_cluster_size: int | None = None
    """How many nodes keep a new stream; None: all."""

    _type: ClassVar[str] = "stream"
    _fields: ClassVar[Mapping[str, str]] = {
        **_OF_ALL,
        "max_age": "x-max-age",
        "max_segment_size": "x-stream-max-segment-size-bytes",
        "initial_cluster_size": "x-initial-cluster-size",
    }
    _rules: ClassVar[Mapping[str, Rule]] = {
        "offset": rule(
            "first, last, next, an int from 0, a datetime with a time zone since 1970, a timedelta "
            "of whole seconds, or a text such as 2h",
            _is_offset,
            none=True,
        ),
        "filter": rule("a text or a tuple of texts", _is_filter, none=True),
        "max_age": rule("whole seconds of at least 1, or a text such as 7D", _is_age, none=True),
        "max_segment_size": number(1, LARGEST_SEGMENT, none=True),
        "initial_cluster_size": number(1, none=True),
    }
    _remedies: ClassVar[Mapping[str, str]] = {
        "durable": "a stream is always durable, so leave durable out",
        "exclusive": "a stream belongs to no connection; write Classic(name, exclusive=True)",
        "auto_delete": "a stream outlives its readers; write max_age=seconds",
        "expires": "a stream outlives its readers; write max_age=seconds",
        "message_ttl": "a stream drops whole segments; write max_age=seconds",
        "max_length": "a stream is limited in bytes; write max_length_bytes=n",
        "delivery_limit": "a stream takes nothing back, and delivers each message once",
        "dead_letter_exchange": "what is rejected stays in the stream; write Quorum(name, ...)",
        "consumer_priority": "each consumer of a stream gets all messages; leave it out",
        "exclusive_consumer": "each consumer of a stream gets all messages; leave it out",
        "single_active_consumer": "RabbitMQ has it for its own stream protocol only",
    }

    def _check_fields(self) -> None:
        if self.match_unfiltered and self.filter is None:
            self._refuse("match_unfiltered needs a filter")

    @property
    def consumer(self) -> ConsumerOptions:
        """How to consume from the stream."""
        options: dict[str, Any] = {}
        if self.offset is not None:
            is_time = isinstance(self.offset, timedelta)
            options["x-stream-offset"] = (
                f"{int(self.offset.total_seconds())}s" if is_time else self.offset  # type: ignore[union-attr]
            )
        if self.filter is not None:
            values = [self.filter] if isinstance(self.filter, str) else [*self.filter]
            options["x-stream-filter"] = values
            options["x-stream-match-unfiltered"] = self.match_unfiltered
        return ConsumerOptions(arguments=options, is_stream=True)


# --- what the broker makes of it


def unmet(flags: Mapping[str, Any], consumer: ConsumerOptions, version: Version) -> list[str]:
    """Return the arguments that a broker of this *version* ignores, each with what it needs."""
    given = [*(flags.get("arguments") or {}), *consumer.arguments]
    needs = {name: SINCE[name] for name in given if name in SINCE}
    return [
        f"{name} (since {'.'.join(map(str, since))})"
        for name, since in needs.items()
        if version and version < since
    ]


def with_limit(queue: Any, max_deliveries: int | None) -> Any:
    """Return *queue* with the delivery limit that lets a processor have *max_deliveries*.

    Only a quorum queue without a limit of its own gets one, and only if the broker's own limit
    would be reached first.  With a limit equal to *max_deliveries*, the processor gets a message
    once more than it may, and rejects it, before the broker drops it.
    """
    if max_deliveries is not None and max_deliveries <= DEFAULT_LIMIT:
        return queue
    limit = -1 if max_deliveries is None else max_deliveries
    if isinstance(queue, Quorum):
        is_open = queue.delivery_limit is None and not queue.passive
        return replace(queue, delivery_limit=limit, implied_limit=True) if is_open else queue
    if not isinstance(queue, Mapping) or not lacks_limit(queue.get("flags") or {}):
        return queue
    flags = queue["flags"]
    return {
        **queue,
        "flags": {**flags, "arguments": {**flags["arguments"], DELIVERY_LIMIT: limit}},
        IMPLIED: True,
    }


def lacks_limit(flags: Any) -> bool:
    """Return whether *flags* declare a quorum queue without a delivery limit."""
    arguments = flags.get("arguments") if isinstance(flags, Mapping) else None
    if not isinstance(arguments, Mapping) or flags.get("passive"):
        return False
    return arguments.get("x-queue-type") == "quorum" and DELIVERY_LIMIT not in arguments


def limit_may_miss(queue: Any, flags: Mapping[str, Any]) -> bool:
    """Return whether to use *queue*, declared by *flags*, although it has another delivery limit.

    It is so if the program has asked for no limit, or for more than the usual one, which a policy
    can set, too.
    """
    if isinstance(queue, Quorum):
        return queue.implied_limit or queue.delivery_limit in (None, -1)
    return lacks_limit(flags) or (isinstance(queue, Mapping) and IMPLIED in queue)


def without_limit(flags: Mapping[str, Any]) -> dict[str, Any]:
    """Return *flags* without a delivery limit."""
    others = {name: value for name, value in flags["arguments"].items() if name != DELIVERY_LIMIT}
    return {**flags, "arguments": others}
