"""Rules: which values an attribute, argument or option may have, and the error about others.

A *rule* is called with the name of a value and the value.  It returns nothing if the value can be
used; otherwise it raises a `SettingsError` with the name, the range and the value.
"""

from __future__ import annotations

import math
import reprlib
from collections.abc import Callable, Mapping
from datetime import datetime
from decimal import Decimal
from numbers import Integral, Real
from typing import Any

from postage.errors import SettingsError

# fmt: off
__all__ = [
    "MAX_BODY",
    "MAX_DEPTH",
    "MAX_SHORT_INT",
    "Rule",
    "arguments",
    "check_arguments",
    "check_values",
    "encoder_class",
    "flag",
    "host_name",
    "number",
    "path",
    "rule",
    "seconds",
    "secret",
    "short_text",
    "table",
    "text",
    "value_error",
]
# fmt: on

Rule = Callable[[str, Any], None]
"""Raises `SettingsError` if a value, given with its name, cannot be used."""

MAX_SHORT = 255
"""The bytes of AMQP's short strings: names of queues, exchanges and virtual hosts, and keys."""
MAX_SHORT_INT = 65535
"""The largest of AMQP's short integers: a prefetch, or a heartbeat in seconds."""
MAX_HOST = 253
"""The characters of the longest host name (RFC 1035, 2.3.4)."""
MAX_TABLE = 1 << 16
"""The bytes of a table of arguments.  Its method must fit into one frame, usually of 128 KiB."""
MAX_DEPTH = 50
"""How deep a table of arguments may nest."""

_repr = reprlib.Repr()
_repr.maxstring = _repr.maxother = 80


def value_error(name: str, expected: str, value: object) -> SettingsError:
    """Return the error for a *value* of *name* that is not as *expected*."""
    return SettingsError(f"{name} must be {expected}, not {_repr.repr(value)}")


def rule(expected: str, allows: Callable[[Any], bool], *, none: bool = False) -> Rule:
    """Return the rule of the values that *allows* accepts, and of None if *none*."""
    expected = f"{expected}, or None" if none else expected

    def check(name: str, value: object) -> None:
        if not (none and value is None) and not allows(value):
            raise value_error(name, expected, value)

    return check


def check_values(owner: object, rules: Mapping[str, Rule]) -> None:
    """Raise `SettingsError` if an attribute of *owner* has a value that *rules* do not allow."""
    cls = owner if isinstance(owner, type) else type(owner)
    for name, check in rules.items():
        # A property may need what its class sets later.
        if not isinstance(getattr(cls, name, None), property):
            check(f"{cls.__name__}.{name}", getattr(owner, name))


def check_arguments(rules: Mapping[str, Rule], **values: object) -> None:
    """Raise `SettingsError` if one of the arguments *values* is not allowed by its rule."""
    for name, value in values.items():
        rules[name](name, value)


# --- numbers


def number(least: int, most: int | None = None, *, none: bool = False) -> Rule:
    """Return the rule of whole numbers from *least* to *most*; a bool is none."""

    def allows(value: Any) -> bool:
        if isinstance(value, bool) or not isinstance(value, Integral):
            return False
        return least <= int(value) and (most is None or int(value) <= most)

    span = f"of at least {least}" if most is None else f"from {least} to {most}"
    return rule(f"an int {span}", allows, none=none)


def seconds(
    *, zero: bool = False, endless: bool = False, most: float = math.inf, none: bool = False
) -> Rule:
    """Return the rule of durations above 0 up to *most*; of 0 if *zero*, of inf if *endless*."""

    def allows(value: Any) -> bool:
        if isinstance(value, bool) or not isinstance(value, Real):
            return False
        try:
            size = float(value)
        except OverflowError:
            return False
        at_least = size >= 0 if zero else size > 0  # never true of NaN
        return at_least and (endless or size < math.inf) and size <= most

    spoken = f"{'>=' if zero else '>'} 0 seconds"
    spoken += f", at most {most:.0f}" if most < math.inf else ""
    kind = "a number, or math.inf" if endless else "a finite number"
    return rule(f"{spoken} ({kind})", allows, none=none)


flag = rule("True or False", lambda value: isinstance(value, int) and value in (0, 1))
"""The rule of switches."""

# --- texts


def _size_of_text(value: object) -> int | None:
    """Return the length of a text in UTF-8; None if it is no text, or has lone surrogates."""
    try:
        return len(value.encode()) if isinstance(value, str) else None
    except UnicodeEncodeError:
        return None


def _is_text(value: object) -> bool:
    return _size_of_text(value) is not None


path = rule("a text without NUL", lambda value: isinstance(value, str) and "\0" not in value)
"""The rule of names of files, which may have bytes that are not UTF-8 (as surrogates)."""

text = rule("a text that UTF-8 can hold", _is_text)
"""The rule of texts of any length."""


def secret(name: str, value: object) -> None:
    """Check a text that no error may quote."""
    if not _is_text(value):
        raise SettingsError(f"{name} must be a text that UTF-8 can hold")


def short_text(least: int = 0, *, none: bool = False) -> Rule:
    """Return the rule of AMQP's short strings, such as names and keys, from *least* bytes."""

    def allows(value: object) -> bool:
        size = _size_of_text(value)
        return size is not None and least <= size <= MAX_SHORT

    return rule(f"a text of {least} to {MAX_SHORT} bytes in UTF-8", allows, none=none)


def host_name(name: str, value: object) -> None:
    """Check the name or IP address of a host; no error quotes it, as it may hold a password."""
    if not _is_host(value):
        raise SettingsError(
            f"{name} must be a name of at most {MAX_HOST} characters, or an IP address"
        )


def _is_host(value: object) -> bool:
    """Tell whether the resolver can be asked for *value*: odd texts raise errors of Python."""
    if not isinstance(value, str):
        return False
    try:
        encoded = value.encode() if value.isascii() else value.encode("idna")
    except UnicodeError:  # an empty label, or one of more than 63 bytes
        return False
    return 0 < len(encoded) <= MAX_HOST and b"\0" not in encoded


# --- tables of arguments (AMQP 0-9-1, 4.2.5.5)

_table_key = short_text()
_SCALARS = (
    "an int of 64 bits, a text, bytes, a bool, a Decimal of 32 bits, a datetime since 1970, None, "
    "or a list or dict of these"
)


def table(most: int) -> Rule:
    """Return the rule of tables of at most *most* bytes: mappings, or None."""

    def check(name: str, table: object) -> None:
        if table is None:
            return
        if not isinstance(table, Mapping):
            raise value_error(name, "a dictionary", table)
        size = _size_of_table(name, table, 0)
        if size > most:
            raise SettingsError(f"{name} must have at most {most} bytes, not {size}")

    return check


arguments = table(MAX_TABLE)
"""The rule of the arguments of a queue or exchange."""


def _size_of_table(name: str, table: Mapping[Any, Any], depth: int) -> int:
    size = 0
    for key, value in table.items():
        _table_key(f"a key of {name}", key)
        size += 1 + len(key.encode()) + _size_of_value(f"{name}[{key!r}]", value, depth + 1)
    return size


def _size_of_value(name: str, value: object, depth: int) -> int:
    """Return about how many bytes *value* takes in a table; raise `SettingsError`."""
    if depth > MAX_DEPTH:
        raise SettingsError(f"{name[:200]}... nests deeper than {MAX_DEPTH} levels")
    if isinstance(value, dict):
        return 5 + _size_of_table(name, value, depth)
    if isinstance(value, list):
        parts = (_size_of_value(f"{name}[{n}]", part, depth + 1) for n, part in enumerate(value))
        return 5 + sum(parts)
    if isinstance(value, str):
        text(name, value)
        return 5 + len(value.encode())
    if isinstance(value, bytes):
        return 5 + len(value)
    if not _is_scalar(value):
        raise value_error(name, _SCALARS, value)
    return 9


def _is_scalar(value: object) -> bool:
    """Tell whether AMQP's tables, as pika writes them, can hold *value*."""
    if isinstance(value, int):
        return -(1 << 63) <= value < 1 << 63
    if isinstance(value, Decimal):
        return _is_short_decimal(value)
    if isinstance(value, datetime):
        return value.utctimetuple()[0] >= 1970  # noqa: PLR2004 - where AMQP's timestamps begin
    return value is None


def _is_short_decimal(value: Decimal) -> bool:
    """Tell whether *value* is an int of 32 bits, divided by 10 at most 255 times."""
    exponent = value.normalize().as_tuple().exponent if value.is_finite() else None
    if exponent is None or not -255 <= int(exponent) <= 10:  # noqa: PLR2004 - 10**10 > 2**32
        return False
    return -(1 << 31) <= value.scaleb(max(0, -int(exponent))) < 1 << 31


# --- attributes that several classes have


def _is_encoder(value: object) -> bool:
    content_type = getattr(value, "content_type", None)
    methods = (getattr(value, name, None) for name in ("encode", "decode"))
    size = _size_of_text(content_type)
    depth = getattr(value, "max_depth", 1)
    if not isinstance(depth, int) or depth < 1 or size is None or size > MAX_SHORT:
        return False
    return isinstance(value, type) and all(map(callable, methods))


encoder_class = rule(
    "a class with encode(), decode(), a text as content_type, and a max_depth >= 1 if any",
    _is_encoder,
)
"""The rule of the attribute ``encoder_class``."""

MAX_BODY = 16 << 20
"""Bytes of the largest body by default: that of RabbitMQ 4 (``max_message_size``)."""
