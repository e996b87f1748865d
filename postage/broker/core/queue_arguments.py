"""The optional arguments of queues and consumers (``x-...``): read, checked and compared."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any, NoReturn

from postage.broker.wire.exceptions import ChannelFault, ConnectionFault
from postage.broker.wire.fields import Timestamp

__all__ = [
    "LONGEST_TTL",
    "QueueArguments",
    "check_same",
    "check_text",
    "consumer_priority",
    "type_name",
]

_PRIORITIES = 255
LONGEST_TTL = 315_360_000_000
"""The longest time to live in milliseconds, ten years, as in RabbitMQ."""
LONGEST_KEY = 255
"""Bytes of a routing key in a method, which is a short string."""
_OVERFLOWS = ("drop-head", "reject-publish", "reject-publish-dlx")
_TYPES = ("classic", "quorum", "stream")
_MODES = ("default", "lazy")

# Arguments that only queues of one type accept.
_OF_STREAMS = ("x-max-age", "x-stream-max-segment-size-bytes", "x-initial-cluster-size")
_OF_QUORUMS = (
    "x-delivery-limit",
    "x-quorum-initial-group-size",
    "x-dead-letter-strategy",
    "x-queue-leader-locator",
    "x-max-in-memory-length",
    "x-max-in-memory-bytes",
)
_OF_CLASSICS = ("x-max-priority", "x-queue-mode", "x-queue-version", "x-queue-master-locator")
_FOREIGN = {"classic": (*_OF_QUORUMS, *_OF_STREAMS), "quorum": (*_OF_CLASSICS, *_OF_STREAMS)}


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
    single_active: bool = False
    type: str = "classic"

    @classmethod
    def parse(cls, raw: dict[str, Any], queue: str, vhost: str = "/") -> QueueArguments:
        """Read *raw*; raise 406 for an argument that is wrong, 540 for streams.

        The order of the checks decides which of several errors is reported, and is RabbitMQ's.
        """
        subject = f"queue '{queue}' in vhost '{vhost}'"
        check_text(raw, "x-dead-letter-exchange", subject)
        read = _Reader(raw, subject)
        parsed = cls(
            expires=read.seconds("x-expires", least=1),
            message_ttl=read.seconds("x-message-ttl", least=0),
            dead_letter_exchange=raw.get("x-dead-letter-exchange"),
            dead_letter_key=read.dead_letter_key(),
            max_length=read.number("x-max-length"),
            max_bytes=read.number("x-max-length-bytes"),
            max_priority=read.priority(),
            overflow=read.one_of("x-overflow", _OVERFLOWS, "invalid_overflow") or "drop-head",
            single_active=read.flag("x-single-active-consumer"),
            type=read.type(),
            delivery_limit=read.number("x-delivery-limit"),
        )
        read.mode()
        read.check_type(parsed.type)
        return parsed


class _Reader:
    """Reads single arguments of one queue."""

    def __init__(self, raw: dict[str, Any], subject: str) -> None:
        self._raw, self._subject = raw, subject

    def refuse(self, name: str, reason: str) -> NoReturn:
        raise ChannelFault(406, f"invalid arg '{name}' for {self._subject}: {reason}")

    def integer(self, name: str) -> int | None:
        if name not in self._raw:
            return None
        value = self._raw[name]
        if type_name(value) not in ("signedint", "long"):
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

    def seconds(self, name: str, least: int) -> float | None:
        """Return an argument in milliseconds, of which there must be *least*, as seconds."""
        value = self.number(name, least, LONGEST_TTL)
        return None if value is None else value / 1000

    def priority(self) -> int | None:
        value = self.number("x-max-priority")
        if value is not None and value > _PRIORITIES:
            self.refuse("x-max-priority", f"{{max_value_exceeded,{value}}}")
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

    def dead_letter_key(self) -> str | None:
        key = self.text("x-dead-letter-routing-key")
        if key is not None and "x-dead-letter-exchange" not in self._raw:
            self.refuse("x-dead-letter-routing-key", "routing_key_but_no_dlx_defined")
        if key is not None and len(key.encode("utf-8", "surrogateescape")) > LONGEST_KEY:
            # RabbitMQ takes it, but no method can carry the dead letters to a consumer.
            self.refuse("x-dead-letter-routing-key", f'"longer than {LONGEST_KEY} bytes"')
        return key

    def one_of(self, name: str, allowed: tuple[str, ...], refusal: str) -> str | None:
        value = self.text(name)
        if value is not None and value not in allowed:
            self.refuse(name, refusal)
        return value

    def type(self) -> str:
        wrong = f"\"unsupported queue type '{self._raw.get('x-queue-type')}'\""
        type_ = self.one_of("x-queue-type", _TYPES, wrong) or "classic"
        if type_ == "stream":
            raise ConnectionFault(540, "queues of type stream are not supported by this broker")
        return type_

    def mode(self) -> None:
        wrong = f"\"unsupported queue mode '{self._raw.get('x-queue-mode')}'\""
        self.one_of("x-queue-mode", _MODES, wrong)

    def check_type(self, type_: str) -> None:
        for name in _FOREIGN[type_]:
            if name in self._raw:
                subject = f"{self._subject} of queue type rabbit_{type_}_queue"
                raise ChannelFault(406, f"invalid arg '{name}' for {subject}")


def consumer_priority(raw: dict[str, Any], queue: str, vhost: str) -> int:
    """Return the priority in the arguments *raw* of a consumer of *queue*; 0 if it has none."""
    read = _Reader(raw, f"queue '{queue}' in vhost '{vhost}'")
    return read.integer("x-priority") or 0


def check_text(raw: dict[str, Any], name: str, subject: str) -> None:
    """Raise 406 if the argument *name*, which names an exchange, is not a string."""
    if name in raw and not isinstance(raw[name], str):
        found = type_name(raw[name])
        raise ChannelFault(406, f"invalid type '{found}' for arg '{name}' in {subject}")


_COMPARED = (
    "x-expires",
    "x-message-ttl",
    "x-dead-letter-exchange",
    "x-dead-letter-routing-key",
    "x-max-length",
    "x-max-length-bytes",
    "x-max-priority",
    "x-overflow",
    "x-queue-mode",
    "x-queue-version",
    "x-single-active-consumer",
    "x-queue-type",
    "x-delivery-limit",
    "alternate-exchange",
)
_DEFAULTS = {"x-queue-type": "classic"}
"""The values of arguments that a declaration does not have."""


def check_same(
    subject: str,
    flags: dict[str, tuple[Any, Any]],
    received: dict[str, Any],
    current: dict[str, Any],
) -> None:
    """Raise 406 if a declaration of *subject* differs from the existing queue or exchange.

    *flags* are pairs of the received and the current value; the other two are the arguments.
    """
    for flag, (new, old) in flags.items():
        if new != old:
            _refuse_change(flag, subject, f"'{_shown(new)}'", f"'{_shown(old)}'")
    for name in _COMPARED:
        default = _DEFAULTS.get(name)
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
# The first match wins: bool and Timestamp are subclasses of int.
_TYPE_NAMES: tuple[tuple[type, str], ...] = (
    (bool, "bool"),
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
