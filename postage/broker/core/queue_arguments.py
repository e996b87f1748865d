"""The optional arguments of queues and consumers (``x-...``): read, checked and compared."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, NamedTuple, NoReturn, TypeGuard

from postage.broker.core.likeness import Likeness
from postage.broker.wire.exceptions import ChannelFault, ConnectionFault
from postage.broker.wire.fields import Long, Timestamp

__all__ = [
    "DEFAULT_TYPE",
    "LONGEST_TTL",
    "ConsumerArguments",
    "DelayedRetry",
    "QueueArguments",
    "check_same",
    "check_text",
    "type_name",
]

_PRIORITIES = 255
LONGEST_TTL = 315_360_000_000
"""The longest time to live in milliseconds, ten years, as in RabbitMQ."""
LONGEST_KEY = 255
"""Bytes of a routing key in a method, which is a short string."""
_OVERFLOWS = ("drop-head", "reject-publish", "reject-publish-dlx")
_STRATEGIES = ("at-most-once", "at-least-once")
_LOCATORS = ("client-local", "balanced", "random", "least-leaders")
_MODES = ("default", "lazy")
_INTEGERS = ("signedint", "long")
DEFAULT_TYPE = "classic"


@dataclass(frozen=True)
class DelayedRetry:
    """Which messages a quorum queue delays when they come back, and for how long."""

    of_failures: bool
    """Whether messages are delayed whose delivery has failed."""
    of_returns: bool
    """Whether messages are delayed that were given back otherwise."""
    least: float
    """Seconds; after each further failure of the message as many more."""
    most: float
    """Seconds that no delay exceeds."""

    @classmethod
    def parse(cls, raw: dict[str, Any]) -> DelayedRetry | None:
        """Read *raw*; None if nothing is delayed, also because RabbitMQ ignores odd values."""
        of = _DELAYED.get(str(raw.get("x-delayed-retry-type")))
        least, most = raw.get("x-delayed-retry-min"), raw.get("x-delayed-retry-max")
        if of is None or not _is_positive(least):
            return None
        return cls(*of, least / 1000, (most if _is_positive(most) else least) / 1000)

    def delay(self, failures: int, *, failed: bool) -> float:
        """Return for how many seconds to delay a message with so many *failures*; 0: not at all."""
        if not (self.of_failures if failed else self.of_returns):
            return 0.0
        return min(self.least * max(1, failures), self.most)


_DELAYED = {"all": (True, True), "failed": (True, False), "returned": (False, True)}
"""Whether each type of delayed retry is for failures, and for other returns."""


def _is_positive(value: Any) -> TypeGuard[int]:
    return type_name(value) in _INTEGERS and value > 0


@dataclass(frozen=True)
class QueueArguments:
    """The arguments of a queue; None stands for an argument that is missing.  Times are seconds."""

    expires: float | None = None
    message_ttl: float | None = None
    max_length: int | None = None
    max_bytes: int | None = None
    overflow: str = "drop-head"
    dead_letter_exchange: str | None = None
    dead_letter_key: str | None = None
    max_priority: int | None = None
    delivery_limit: int | None = None
    delayed_retry: DelayedRetry | None = None
    consumer_timeout: float | None = None
    single_active: bool = False
    type: str = "classic"

    @classmethod
    def parse(
        cls, raw: dict[str, Any], queue: str, vhost: str, likeness: Likeness
    ) -> QueueArguments:
        """Read *raw*; raise 406 for an argument that is wrong, 540 for streams.

        The order of the checks decides which of several errors is reported, and is RabbitMQ's.
        """
        subject = f"queue '{queue}' in vhost '{vhost}'"
        check_text(raw, "x-dead-letter-exchange", subject)
        read = _Reader(raw, subject, likeness)
        type_ = read.type()
        own = likeness.queue_arguments[type_]
        values = {name: check(read, name) for name, check in _CHECKS.items() if name in own}
        read.refuse_foreign(type_, likeness.queue_arguments)
        return cls(
            expires=values["x-expires"],
            message_ttl=values["x-message-ttl"],
            dead_letter_exchange=raw.get("x-dead-letter-exchange"),
            dead_letter_key=values["x-dead-letter-routing-key"],
            max_length=values["x-max-length"],
            max_bytes=values["x-max-length-bytes"],
            max_priority=values.get("x-max-priority", likeness.quorum_priority),
            overflow=values["x-overflow"] or "drop-head",
            consumer_timeout=values.get("x-consumer-timeout"),
            single_active=values["x-single-active-consumer"],
            type=type_,
            delivery_limit=read.delivery_limit() if "x-delivery-limit" in own else None,
            delayed_retry=DelayedRetry.parse(raw) if "x-delayed-retry-type" in own else None,
        )


class _Reader:
    """Reads single arguments of one queue."""

    def __init__(self, raw: dict[str, Any], subject: str, likeness: Likeness) -> None:
        self._raw, self._subject, self._likeness = raw, subject, likeness

    def refuse(self, name: str, reason: str) -> NoReturn:
        raise ChannelFault(406, f"invalid arg '{name}' for {self._subject}: {reason}")

    def integer(self, name: str) -> int | None:
        if name not in self._raw:
            return None
        value = self._raw[name]
        if type_name(value) not in _INTEGERS:
            self.refuse(name, f'"expected integer, got {type_name(value)}"')
        number: int = value
        return number

    def number(self, name: str, least: int = 0, most: int | None = None) -> int | None:
        value = self.integer(name)
        if value is None:
            return None
        if value < 0:
            self.refuse(name, f"{{value_negative,{value}}}")
        if value < least:
            self.refuse(name, f"{{value_zero,{value}}}")
        if most is not None and value > most:
            self.refuse(name, f"{{value_too_large,{value}}}")
        return value

    def group_size(self, name: str) -> int | None:
        return self.number(name, least=1)

    def seconds(self, name: str, least: int = 0) -> float | None:
        """Return an argument in milliseconds, of which there must be *least*, as seconds."""
        value = self.number(name, least, LONGEST_TTL)
        return None if value is None else value / 1000

    def timeout(self, name: str) -> float | None:
        value = self.number(name)
        return None if value is None else value / 1000

    def lifetime(self, name: str) -> float | None:
        return self.seconds(name, least=1)

    def priority(self, name: str) -> int | None:
        value = self.number(name)
        if value is not None and value > _PRIORITIES:
            self.refuse(name, f"{{max_value_exceeded,{value}}}")
        return value

    def text(self, name: str) -> str | None:
        value = self._raw.get(name)
        if name in self._raw and not isinstance(value, str):
            self.refuse(name, f"{{unacceptable_type,{type_name(value)}}}")
        return value

    def flag(self, name: str) -> bool:
        value = self._raw.get(name, False)
        if not isinstance(value, bool):
            self.refuse(name, f"{{unacceptable_type,{type_name(value)}}}")
        return value

    def dead_letter_key(self, name: str) -> str | None:
        key = self.text(name)
        if key is not None and "x-dead-letter-exchange" not in self._raw:
            self.refuse(name, "routing_key_but_no_dlx_defined")
        if key is not None and len(key.encode("utf-8", "surrogateescape")) > LONGEST_KEY:
            # RabbitMQ takes it, but no method can carry the dead letters to a consumer.
            self.refuse(name, f'"longer than {LONGEST_KEY} bytes"')
        return key

    def one_of(self, name: str, allowed: Iterable[str], refusal: str) -> str | None:
        value = self.text(name)
        if value is not None and value not in allowed:
            self.refuse(name, refusal)
        return value

    def overflow(self, name: str) -> str | None:
        return self.one_of(name, _OVERFLOWS, "invalid_overflow")

    def strategy(self, name: str) -> str | None:
        return self.one_of(name, _STRATEGIES, "invalid_dlx_strategy")

    def locator(self, name: str) -> str | None:
        return self.one_of(name, _LOCATORS, "invalid_queue_locator_arg")

    def type(self) -> str:
        name = "x-queue-type"
        if self._raw.get(name) in self._likeness.unstated_types:
            return DEFAULT_TYPE
        wrong = f"\"unsupported queue type '{self._raw.get(name)}'\""
        type_ = self.one_of(name, self._likeness.queue_arguments, wrong) or DEFAULT_TYPE
        if type_ == "stream":
            raise ConnectionFault(540, "queues of type stream are not supported by this broker")
        return type_

    def mode(self, name: str) -> None:
        if self._likeness.checks_mode:
            wrong = f"\"unsupported queue mode '{self._raw.get(name)}'\""
            self.one_of(name, _MODES, wrong)

    def version(self, name: str) -> None:
        value = self.number(name)
        if value is not None and value not in self._likeness.queue_versions:
            self.refuse(name, f"\"unsupported queue version '{value}'\"")

    def delivery_limit(self) -> int | None:
        """Return the limit; RabbitMQ ignores a value that is no integer."""
        value = self._raw.get("x-delivery-limit")
        if type_name(value) not in _INTEGERS:
            return self._likeness.delivery_limit
        limit: int = self._raw["x-delivery-limit"]
        return None if limit < 0 and self._likeness.lifts_limit else limit

    def refuse_foreign(self, type_: str, arguments: Mapping[str, tuple[str, ...]]) -> None:
        """Refuse arguments that only other types have, of the *arguments* of each type."""
        known = {each for names in arguments.values() for each in names}
        foreign = known.difference(arguments[type_])
        # RabbitMQ 4 adds the type to a declaration without it, which sorts the arguments.
        is_sorted = self._likeness.states_type and "x-queue-type" not in self._raw
        for name in sorted(self._raw) if is_sorted else self._raw:
            if name in foreign:
                subject = f"{self._subject} of queue type rabbit_{type_}_queue"
                raise ChannelFault(406, f"invalid arg '{name}' for {subject}")


_CHECKS: Mapping[str, Callable[[_Reader, str], Any]] = {
    "x-expires": _Reader.lifetime,
    "x-message-ttl": _Reader.seconds,
    "x-dead-letter-routing-key": _Reader.dead_letter_key,
    "x-dead-letter-strategy": _Reader.strategy,
    "x-max-length": _Reader.number,
    "x-max-length-bytes": _Reader.number,
    "x-max-in-memory-length": _Reader.number,
    "x-max-in-memory-bytes": _Reader.number,
    "x-max-priority": _Reader.priority,
    "x-overflow": _Reader.overflow,
    "x-queue-mode": _Reader.mode,
    "x-queue-version": _Reader.version,
    "x-single-active-consumer": _Reader.flag,
    "x-consumer-timeout": _Reader.timeout,
    "x-consumer-disconnected-timeout": _Reader.number,
    "x-quorum-initial-group-size": _Reader.group_size,
    "x-queue-leader-locator": _Reader.locator,
}
"""The checks of arguments, in RabbitMQ's order."""


class ConsumerArguments(NamedTuple):
    """The arguments of a consumer."""

    priority: int = 0
    timeout: float | None = None
    """Seconds for which a delivery may stay unacknowledged; None: as long as the queue says."""

    @classmethod
    def parse(
        cls, raw: dict[str, Any], queue: str, vhost: str, type_: str, likeness: Likeness
    ) -> ConsumerArguments:
        """Read *raw*; raise 406 for what consumers of a queue of this type cannot have."""
        read = _Reader(raw, f"queue '{queue}' in vhost '{vhost}'", likeness)
        has_timeout = "x-consumer-timeout" in likeness.consumer_arguments[type_]
        found = cls(
            read.integer("x-priority") or 0,
            read.timeout("x-consumer-timeout") if has_timeout else None,
        )
        read.refuse_foreign(type_, likeness.consumer_arguments)
        return found


def check_text(raw: dict[str, Any], name: str, subject: str) -> None:
    """Raise 406 if the argument *name*, which names an exchange, is not a string."""
    if name in raw and not isinstance(raw[name], str):
        found = type_name(raw[name])
        raise ChannelFault(406, f"invalid type '{found}' for arg '{name}' in {subject}")


def check_same(
    subject: str,
    flags: dict[str, tuple[Any, Any]],
    received: dict[str, Any],
    current: dict[str, Any],
    compared: Iterable[str],
) -> None:
    """Raise 406 if a declaration of *subject* differs from the existing queue or exchange.

    *flags* are pairs of the received and the current value; the next two are the arguments, of
    which those *compared* matter.
    """
    for flag, (new, old) in flags.items():
        if new != old:
            _refuse_change(flag, subject, f"'{_shown(new)}'", f"'{_shown(old)}'")
    for name in compared:
        default = DEFAULT_TYPE if name == "x-queue-type" else None
        new, old = received.get(name, default), current.get(name, default)
        if new == old and isinstance(new, bool) == isinstance(old, bool):
            continue
        if name in received and name in current:
            _refuse_change(name, subject, f"'{_shown(new)}'", f"'{_shown(old)}'")
        _refuse_change(name, subject, _typed(name, received), _typed(name, current))


def _refuse_change(name: str, subject: str, new: str, old: str) -> NoReturn:
    text = f"inequivalent arg '{name}' for {subject}: received {new} but current is {old}"
    raise ChannelFault(406, text)


def _typed(name: str, arguments: dict[str, Any]) -> str:
    """Return the argument *name* as RabbitMQ shows it if the other side does not have it."""
    if name not in arguments:
        return "none"
    return f"the value '{_shown(arguments[name])}' of type '{type_name(arguments[name])}'"


def _shown(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


_SIGNED = 1 << 31
# The first match wins: bool, Long and Timestamp are subclasses of int.
_TYPE_NAMES: tuple[tuple[type, str], ...] = (
    (bool, "bool"),
    (Long, "long"),
    (Timestamp, "timestamp"),
    (float, "double"),
    (str, "longstr"),
    (bytes, "binary"),
    (dict, "table"),
    (list, "array"),
    (Decimal, "decimal"),
    (type(None), "void"),
)


def type_name(value: Any) -> str:
    """Return RabbitMQ's name for the type of a value in a table."""
    for type_, name in _TYPE_NAMES:
        if isinstance(value, type_):
            return name
    return "signedint" if -_SIGNED <= value < _SIGNED else "long"
