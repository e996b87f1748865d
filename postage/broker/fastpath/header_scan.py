"""A glance at the header of a message: most are sound, and ask nothing of the broker.

`ContentProperties.decode` reads all of a header; here its parts are passed over by their lengths.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache

from postage.broker.core.queue_arguments import LONGEST_TTL
from postage.broker.wire.exceptions import SyntaxFault
from postage.broker.wire.fields import decode_table

__all__ = ["NEEDS_FULL_CHECK", "REPLY_TO", "Header", "HeaderScan"]

REPLY_TO = "amq.rabbitmq.reply-to"
"""The pseudo-queue of direct replies (RabbitMQ, direct reply-to)."""


Header = tuple[bytes, "float | None"]
"""A header, from its flags on, and the seconds that it gives the message to live."""

NEEDS_FULL_CHECK: Header = b"", None
"""Stands for any that somebody must look into: it is wrong, or asks for more than time to live."""

_REPLY_TO = bytes((len(REPLY_TO),)) + REPLY_TO.encode()
_CONTINUED, _PRIORITY, _USER_ID = 1, 1 << 11, 1 << 4
_CORRELATION_ID, _EXPIRATION, _MESSAGE_ID, _TIMESTAMP = 1 << 10, 1 << 8, 1 << 7, 1 << 6
_OPAQUE = _CONTINUED | _PRIORITY | _USER_ID
_SINGULAR = _CORRELATION_ID | _MESSAGE_ID | _TIMESTAMP
"""Flags of what is another for each message: such a header does not come again."""


class HeaderScan(dict[bytes, Header]):
    """What there was to be seen of headers; those that may come again are remembered."""

    REMEMBERED = 512
    SHORT = 128

    def __missing__(self, data: bytes) -> Header:
        """Have a glance at *data*."""
        flags = int.from_bytes(data[:2], "big")
        header = _seen(data, flags)
        if not flags & _SINGULAR and len(data) <= self.SHORT:
            if len(self) >= self.REMEMBERED:
                self.clear()
            self[data] = header
        return header


def _seen(data: bytes, flags: int) -> Header:
    if flags & _OPAQUE or len(data) < 2:  # noqa: PLR2004 - the flags
        return NEEDS_FULL_CHECK
    before, after = _steps(flags)
    ttl = None
    try:
        at = _passed(data, 2, before)
        if flags & _EXPIRATION:
            ttl, at = _time_to_live(data, at)
            at = _passed(data, at, after)
    except (_OpaqueError, IndexError):
        return NEEDS_FULL_CHECK
    return (data, ttl) if at <= len(data) else NEEDS_FULL_CHECK


class _OpaqueError(Exception):
    """Somebody must look into it."""


Step = Callable[[bytes, int], int]
"""Passes over a property that begins somewhere; returns where it ends."""


def _passed(data: bytes, at: int, steps: Iterable[Step | None]) -> int:
    for step in steps:
        at = at + 1 + data[at] if step is None else step(data, at)
    return at


def _time_to_live(data: bytes, at: int) -> tuple[float, int]:
    end = at + 1 + data[at]
    digits = data[at + 1 : end]
    if not digits.isdigit() or int(digits) > LONGEST_TTL:
        raise _OpaqueError
    return int(digits) / 1000, end


def _reply_to(data: bytes, at: int) -> int:
    if data.startswith(_REPLY_TO, at):
        raise _OpaqueError
    return at + 1 + data[at]


def _delivery_mode(data: bytes, at: int) -> int:
    if data[at] not in (1, 2):
        raise _OpaqueError
    return at + 1


def _timestamp(_data: bytes, at: int) -> int:
    return at + 8


def _headers(data: bytes, at: int) -> int:
    end = at + 4 + int.from_bytes(data[at : at + 4], "big")
    table = data[at:end]
    is_sound = _is_sound if len(table) <= HeaderScan.SHORT else _is_sound.__wrapped__
    if b"CC" in table or not is_sound(table):
        raise _OpaqueError
    return end


@lru_cache(maxsize=512)
def _is_sound(table: bytes) -> bool:
    """Whether *table* can be read; many publishers send the same one again and again."""
    try:
        return decode_table(table, 0)[1] == len(table)
    except SyntaxFault:
        return False


_LAYOUT: tuple[Step | None, ...] = (
    *(None, None, _headers, _delivery_mode),  # content type and encoding
    *(None, None, _reply_to),  # priority, which is opaque, and correlation id
    *(None, None, _timestamp),  # expiration, read apart, and message id
    *(None, None, None, None),  # type, user id, which is opaque, app id, cluster id
)
"""How to pass over each property, in the order of the flags; None: a short string."""
_EXPIRATION_AT = 7


@lru_cache(maxsize=512)
def _steps(flags: int) -> tuple[tuple[Step | None, ...], tuple[Step | None, ...]]:
    """Return how to pass over the properties before the expiration, and over those after it."""
    steps = [(place, step) for place, step in enumerate(_LAYOUT) if flags >> (15 - place) & 1]
    before = tuple(step for place, step in steps if place < _EXPIRATION_AT)
    after = tuple(step for place, step in steps if place > _EXPIRATION_AT)
    return (before, after) if flags & _EXPIRATION else (before + after, ())
