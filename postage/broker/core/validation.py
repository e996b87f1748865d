"""Checks of the header of a published message, and the properties that the broker acts on."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

from postage.broker.core.costs import value_cost
from postage.broker.core.queue_arguments import LONGEST_TTL, type_name
from postage.broker.wire.content import (
    UNIQUE,
    MessageHeader,
    decode_properties,
    encode_properties,
    encoded_headers,
)
from postage.broker.wire.exceptions import ChannelFault

__all__ = ["REPLY_TO", "validate"]

REPLY_TO = "amq.rabbitmq.reply-to"
"""The pseudo-queue of direct replies (RabbitMQ, direct reply-to)."""
LONGEST_CACHED = 128
"""Bytes of a header whose check is cached: many publishers send the same short header each time."""

_INTEGER = re.compile(r"[+-]?[0-9]+")
_DELIVERY_MODES = (None, 1, 2)


def validate(data: bytes, user: str) -> MessageHeader:
    """Check the header *data* of a message from *user*; return it with what the broker acts on.

    Raises 406 where RabbitMQ refuses the message, and `SyntaxFault` for properties that cannot be
    decoded, which would fail at the consumer otherwise.  The order of the checks decides which of
    several mistakes is reported, and is RabbitMQ's.
    """
    if len(data) > LONGEST_CACHED or int.from_bytes(data[:2], "big") & UNIQUE:
        return _validated(data, user)
    return _cached(data, user)


def _validated(data: bytes, user: str) -> MessageHeader:
    values = decode_properties(data)
    get = values.get
    if get("user_id", user) != user:
        raise ChannelFault(
            406,
            f"user_id property set to '{values['user_id']}' but authenticated user was '{user}'",
        )
    ttl = None if (expiration := get("expiration")) is None else _seconds(expiration)
    keys: tuple[str, ...] = ()
    if b"CC" in data:  # also the end of BCC
        headers = get("headers") or {}
        keys = (*_keys(headers, "CC"), *_keys(headers, "BCC"))
        if "BCC" in headers:  # consumers must not see it
            others, visible = encoded_headers(data)
            del visible["BCC"]
            data = encode_properties({**others, "headers": visible})
    mode = get("delivery_mode")
    if mode not in _DELIVERY_MODES:
        raise ChannelFault(406, f"invalid message: {{delivery_mode_unknown,{mode}}}")
    cost = value_cost(list(keys)) if keys else 0
    return MessageHeader(data, get("priority") or 0, ttl, keys, cost, get("reply_to") == REPLY_TO)


_cached = lru_cache(maxsize=512)(_validated)


def _seconds(expiration: str) -> float:
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
        return int(expiration) / 1000
    raise ChannelFault(406, f"invalid expiration '{expiration}': {why}")


def _keys(headers: dict[str, Any], name: str) -> list[str]:
    keys = headers.get(name, [])
    if not isinstance(keys, list):
        found = f'{{unacceptable_type_in_header,"{name}",{type_name(keys)}}}'
        raise ChannelFault(406, f"invalid message: {found}")
    return [key for key in keys if isinstance(key, str)]
