"""The optional arguments of a queue (``x-...``): read, checked, compared (RabbitMQ, queues)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from postage.broker.errors import ChannelFault, ConnectionFault

__all__ = ["QueueArguments", "check_same"]

_PRIORITIES = 255
_OVERFLOWS = ("drop-head", "reject-publish", "reject-publish-dlx")


@dataclass(frozen=True)
class QueueArguments:
    """What a queue's arguments ask for; None where they ask for nothing.  Times are seconds."""

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
    def parse(cls, raw: dict[str, Any], queue: str) -> QueueArguments:
        """Read *raw*; raise 406 naming the argument that is wrong, 540 for streams."""
        read = _Reader(raw, queue)
        kind = read.one_of("x-queue-type", ("classic", "quorum", "stream"), "classic")
        if kind == "stream":
            raise ConnectionFault(540, "queues of type stream are not supported by this broker")
        parsed = cls(
            expires=read.milliseconds("x-expires", least=1),
            message_ttl=read.milliseconds("x-message-ttl", least=0),
            max_length=read.number("x-max-length"),
            max_bytes=read.number("x-max-length-bytes"),
            overflow=read.one_of("x-overflow", _OVERFLOWS, "drop-head"),
            dead_letter_exchange=read.text("x-dead-letter-exchange"),
            dead_letter_key=read.text("x-dead-letter-routing-key"),
            max_priority=read.number("x-max-priority", most=_PRIORITIES),
            delivery_limit=read.number("x-delivery-limit") if kind == "quorum" else None,
            single_active=bool(raw.get("x-single-active-consumer", False)),
            type=kind,
        )
        if parsed.dead_letter_key is not None and parsed.dead_letter_exchange is None:
            read.refuse("x-dead-letter-routing-key", "routing_key_but_no_dlx_defined")
        return parsed


class _Reader:
    """Reads single arguments of one queue."""

    def __init__(self, raw: dict[str, Any], queue: str) -> None:
        self._raw, self._queue = raw, queue

    def refuse(self, name: str, why: str) -> None:
        raise ChannelFault(406, f"invalid arg '{name}' for queue '{self._queue}': {why}")

    def number(self, name: str, least: int = 0, most: int | None = None) -> int | None:
        value = self._raw.get(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int):
            self.refuse(name, f"{value!r} is not a number")
        if value < least or (most is not None and value > most):
            self.refuse(name, f"{value} is out of range")
        number: int = value
        return number

    def milliseconds(self, name: str, least: int) -> float | None:
        value = self.number(name, least)
        return None if value is None else value / 1000

    def text(self, name: str) -> str | None:
        value = self._raw.get(name)
        if value is not None and not isinstance(value, str):
            self.refuse(name, f"{value!r} is not a string")
        return value

    def one_of(self, name: str, allowed: tuple[str, ...], default: str) -> str:
        value = self.text(name)
        if value is not None and value not in allowed:
            self.refuse(name, f"{value!r} is none of {', '.join(allowed)}")
        return value or default


_COMPARED = (
    "x-expires",
    "x-message-ttl",
    "x-max-length",
    "x-max-length-bytes",
    "x-overflow",
    "x-dead-letter-exchange",
    "x-dead-letter-routing-key",
    "x-max-priority",
    "x-queue-type",
    "x-single-active-consumer",
    "alternate-exchange",
)


def check_same(  # noqa: PLR0913 - what the error names
    kind: str,
    name: str,
    vhost: str,
    asked: dict[str, Any],
    known: dict[str, Any],
    arguments: tuple[dict[str, Any], dict[str, Any]],
) -> None:
    """Raise 406 where a declaration differs from what exists; *arguments*: asked, known."""
    subject = f"for {kind} '{name}' in vhost '{vhost}'"
    for flag, value in asked.items():
        if known[flag] != value:
            raise ChannelFault(
                406,
                f"inequivalent arg '{flag}' {subject}: received '{_word(value)}' but current is "
                f"'{_word(known[flag])}'",
            )
    for argument in _COMPARED:
        received, current = (each.get(argument) for each in arguments)
        if received != current:
            raise ChannelFault(
                406,
                f"inequivalent arg '{argument}' {subject}: received {_described(received)} but "
                f"current is {_described(current)}",
            )


def _word(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _described(value: Any) -> str:
    if value is None:
        return "none"
    kinds = {bool: "bool", int: "signedint", str: "longstr"}
    return f"the value '{_word(value)}' of type '{kinds.get(type(value), 'table')}'"
