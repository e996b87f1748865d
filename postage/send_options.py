"""The options of a message beside its content: headers, priority and others.  Pure.

How it works
------------
Sending methods take the parameters of a message as keywords, and options as keywords that begin
with an underscore.  `split` tells them apart.  It is called only if there is such a keyword, so an
ordinary message pays nothing.

Every option is checked before anything is sent, because a broker answers a mistake by closing the
channel or the connection, which others use, too.  Headers may have what AMQP 0-9-1 can carry and
Postage 1.2.1 can read: pika 0.9 ends its connection at bytes, and the library writes no floats.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from functools import lru_cache, partial
from typing import Any, TypeAlias

from postage.errors import SettingsError
from postage.message import Message, command_from
from postage.protocol import OWN_HEADERS
from postage.values import MAX_DEPTH, Rule, number, seconds, short_text, table, value_error

# fmt: off
__all__ = [
    "CALL_OPTIONS", "MESSAGE_OPTIONS", "HeaderValue", "MessageHeaders", "SendOptions",
    "check_propagated", "given", "options_from", "split",
]
# fmt: on

HeaderValue: TypeAlias = (
    bool
    | int
    | str
    | Decimal
    | datetime
    | Sequence["HeaderValue"]
    | Mapping[str, "HeaderValue"]
    | None
)
"""A value of a header: an int has at most 64 bits, a Decimal 32; a datetime is sent in seconds."""
MessageHeaders: TypeAlias = Mapping[str, HeaderValue]
"""The option ``_headers``: each name has 1 to 255 bytes in UTF-8."""

_BROKERS = ("x-death", "x-delivery-count", "x-acquired-count", "x-first-death-", "x-last-death-")
"""How the names begin of headers that brokers write, and that have an effect: RabbitMQ drops a
message whose ``x-death`` says that it goes round in a circle."""
_COPIES = ("CC", "BCC")
"""Headers that RabbitMQ takes for further routing keys; it closes the channel for other values."""
MAX_HEADERS = 128_000
"""The bytes of all headers: with the other properties, they must fit into one frame of 128 KiB."""
_FEW, _LONG = 20, 255
"""Of such headers that need no closer look: how many, and the characters of a name or value."""
MAX_EXPIRATION = (2**32 - 1) / 1000
"""Seconds of the longest expiration that every broker accepts: 49 days."""

_name = short_text(1)
_text = short_text(1)
_table = table(MAX_HEADERS)
_key = short_text()


@dataclass(frozen=True, slots=True)
class SendOptions:
    """The checked options of one message; None: not given."""

    headers: dict[str, Any] | None = None
    priority: int | None = None
    expiration: float | None = None
    message_id: str | None = None
    delivery_mode: int | None = None
    app_id: str | None = None

    def properties(self) -> dict[str, Any]:
        """Return the options that are given, as properties of AMQP."""
        values = {name: getattr(self, name) for name in self.__slots__}
        if self.expiration is not None:
            # Rounded up, because 0 would mean that it may not wait at all.
            values["expiration"] = str(math.ceil(self.expiration * 1000))
        return {name: value for name, value in values.items() if value is not None}

    def with_headers(self, defaults: Mapping[str, Any]) -> SendOptions:
        """Return these options with the headers *defaults*, as far as they have no such header."""
        return replace(self, headers={**defaults, **(self.headers or {})})


# --- the rules


def _headers(name: str, given: Any) -> None:
    """Check the headers of a message."""
    if type(given) is dict and len(given) <= _FEW and all(map(_is_plain, given.items())):
        return  # as nearly always: to look closer would take twenty times as long
    if not isinstance(given, Mapping):
        raise value_error(name, "a mapping", given)
    _check_names(name, given)
    plain = _plain(given)
    _table(name, plain)
    _refuse_unreadable(name, plain)
    for each in _COPIES:
        keys = plain.get(each, [])
        if not isinstance(keys, list):
            raise value_error(f"{name}[{each!r}]", "a list of routing keys", keys)
        for key in keys:
            _key(f"a routing key in {name}[{each!r}]", key)


def _is_plain(header: tuple[Any, Any]) -> bool:
    """Tell whether *header* is a short text in ASCII under a short name that may be used."""
    name, value = header
    if type(value) is not str or len(value) > _LONG or not value.isascii():
        return False
    return type(name) is str and len(name) <= _LONG and _is_free(name)


@lru_cache(maxsize=256)
def _is_free(name: str) -> bool:
    """Tell whether a header of this *name* may have any text."""
    try:
        _check_names("headers", [name])
    except SettingsError:
        return False
    return name not in _COPIES


def check_propagated(name: str, names: Any) -> None:
    """Check a list of names of headers; a single text would be a list of letters."""
    if not isinstance(names, (list, tuple, set, frozenset)):
        raise value_error(name, 'a list of names of headers, such as ("x-tenant",)', names)
    _check_names(name, names)


def _check_names(owner: str, names: Any) -> None:
    """Raise `SettingsError` if one of *names*, which are those in *owner*, can be no header."""
    for name in names:
        _name(f"the name of a header in {owner}", name)
        for prefix in (OWN_HEADERS, *_BROKERS):
            if name.startswith(prefix):
                writer = "Postage" if prefix == OWN_HEADERS else "the broker"
                raise SettingsError(f"{owner}: only {writer} may write the header {name!r}")


def _refuse_unreadable(name: str, value: Any) -> None:
    """Raise `SettingsError` for bytes, which peers with pika 0.9 cannot read."""
    if isinstance(value, dict):
        for key, each in value.items():
            _refuse_unreadable(f"{name}[{key!r}]", each)
    elif isinstance(value, list):
        for at, each in enumerate(value):
            _refuse_unreadable(f"{name}[{at}]", each)
    elif isinstance(value, bytes):
        raise value_error(name, "text, as Postage 1.2.1 cannot read bytes in headers", value)


def _plain(value: Any, depth: int = 0) -> Any:
    """Return a copy of *value* of dictionaries and lists, such as `ReceivedMessage.headers` has."""
    if depth > MAX_DEPTH:  # `_table` refuses it
        return value
    if isinstance(value, Mapping):
        return {key: _plain(each, depth + 1) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each, depth + 1) for each in value]
    return value


_OPTIONS: dict[str, tuple[Rule, Callable[[Any], Any]]] = {
    "_headers": (_headers, _plain),
    "_priority": (number(0, 255), int),
    "_expiration": (seconds(zero=True, most=MAX_EXPIRATION), float),
    "_message_id": (_text, str),
    "_delivery_mode": (number(1, 2), int),
    "_app_id": (_text, str),
}
"""For each option its rule, and what makes its value a plain one."""

MESSAGE_OPTIONS = frozenset(_OPTIONS)
"""The options of messages."""
CALL_OPTIONS = MESSAGE_OPTIONS - {"_expiration"}
"""The options of calls, whose expiration is their timeout."""
_OTHERS = {
    MESSAGE_OPTIONS: ("_key", "_eks"),
    CALL_OPTIONS: ("_key", "_eks", "_timeout", "_max_retry", "_queue_only"),
}


_NOTHING = (None,) * len(_OPTIONS)


def given(*values: Any) -> dict[str, Any]:
    """Return the options that are not None by their names; *values* are in the order of the table.

    The signatures of sending methods name the options, so that type checkers know them.
    """
    if values == _NOTHING:
        return {}
    named = zip(_OPTIONS, values, strict=True)
    return {name: value for name, value in named if value is not None}


def options_from(given: Mapping[str, Any]) -> SendOptions | None:
    """Return the checked options; None if all values are None.  Raises `SettingsError`."""
    checked = {}
    for name, value in given.items():
        if value is not None:
            check, plain = _OPTIONS[name]
            check(name, value)
            checked[name[1:]] = plain(value)
    return SendOptions(**checked) if checked else None


def split(
    build: Callable[..., Any], given: Mapping[str, Any], allowed: frozenset[str]
) -> tuple[dict[str, Any], SendOptions | None]:
    """Return the parameters of a message among the keywords *given*, and its options.

    *build* makes the message, and *allowed* is `MESSAGE_OPTIONS` or `CALL_OPTIONS`.  A keyword that
    *build* names as a parameter is one, and if *build* takes any keyword, so is each one that is no
    option: programs for 1.2.1 may have such builders.  Raises `SettingsError` for any other keyword
    that begins with an underscore, and for a value that cannot be sent.
    """
    own, takes_any = _parameters_of(build)
    parameters, options = {}, {}
    for name, value in given.items():
        if not name.startswith("_") or name in own:
            parameters[name] = value
        elif name in allowed:
            options[name] = value
        elif takes_any and name not in MESSAGE_OPTIONS:
            parameters[name] = value
        else:
            raise _unknown(name, allowed)
    return parameters, options_from(options)


def _unknown(name: str, allowed: frozenset[str]) -> SettingsError:
    if name in MESSAGE_OPTIONS:
        return SettingsError(f"{name} is no option of calls: _timeout says how long they may wait")
    known = ", ".join((*_OTHERS[allowed], *(each for each in _OPTIONS if each in allowed)))
    return SettingsError(
        f"{name[:100]} is no option: there are {known}.  A parameter whose name begins with an "
        f"underscore needs a builder, or parameters={{{name[:100]!r}: ...}}"
    )


def _parameters_of(build: Callable[..., Any]) -> tuple[frozenset[str], bool]:
    """Return the names of the parameters of *build*, and whether it takes any keyword.

    The builders of Postage itself, which take any, have no parameter that begins with "_".
    """
    if build is Message or (isinstance(build, partial) and build.func is command_from):
        return frozenset(), False
    try:
        parameters = inspect.signature(build).parameters.values()
    except (TypeError, ValueError):  # written in C
        return frozenset(), True
    by_name = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    names = frozenset(each.name for each in parameters if each.kind in by_name)
    return names, any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters)
