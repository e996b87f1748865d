"""What a message must be like to be let in, and what the broker takes out of its headers."""

from __future__ import annotations

import re
from typing import Any

from postage.broker.core.queue_arguments import LONGEST_TTL, type_name
from postage.broker.wire.content import ContentProperties, PublishedMessage
from postage.broker.wire.exceptions import ChannelFault

__all__ = ["validate"]

_INTEGER = re.compile(r"[+-]?[0-9]+")
_DELIVERY_MODES = (None, 1, 2)


def validate(message: PublishedMessage, user: str) -> None:
    """Raise 406 where RabbitMQ does not let *message* of *user* in; note its further keys.

    Raises `SyntaxFault` for properties that cannot be read.
    """
    properties = message.properties  # unreadable ones fail here, and not where a consumer gets them
    _check_user(properties.get("user_id"), user)
    _check_expiration(properties.get("expiration"))
    if b"CC" in message.header:
        _take_keys(message)
    mode = properties.get("delivery_mode")
    if mode not in _DELIVERY_MODES:
        raise ChannelFault(406, f"invalid message: {{delivery_mode_unknown,{mode}}}")


def _check_user(name: str | None, user: str) -> None:
    if name is not None and name != user:
        raise ChannelFault(
            406, f"user_id property set to '{name}' but authenticated user was '{user}'"
        )


def _check_expiration(expiration: str | None) -> None:
    if expiration is None:
        return
    number = _INTEGER.match(expiration)
    if number is None:
        why = "no_integer"
    elif rest := expiration[number.end() :]:
        why = f'{{leftover_string,"{rest}"}}'
    elif int(expiration) < 0:
        why = f"{{value_negative,{int(expiration)}}}"
    elif int(expiration) > LONGEST_TTL:
        why = f"{{value_too_large,{int(expiration)}}}"
    else:
        return
    raise ChannelFault(406, f"invalid expiration '{expiration}': {why}")


def _take_keys(message: PublishedMessage) -> None:
    """Note the keys in CC and BCC; nobody is to see the latter."""
    headers = message.headers
    message.more_keys = (*_keys(headers, "CC"), *_keys(headers, "BCC"))
    if "BCC" in headers:
        seen = {name: value for name, value in headers.items() if name != "BCC"}
        values = {**message.properties.values, "headers": seen}
        message.replace_header(ContentProperties(values).encode())


def _keys(headers: dict[str, Any], name: str) -> list[str]:
    keys = headers.get(name, [])
    if not isinstance(keys, list):
        found = f'{{unacceptable_type_in_header,"{name}",{type_name(keys)}}}'
        raise ChannelFault(406, f"invalid message: {found}")
    return [key for key in keys if isinstance(key, str)]
