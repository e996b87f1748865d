"""Frames, properties and bodies as Hypothesis strategies; pika is the reference for all of them."""

from __future__ import annotations

import datetime as dt
import decimal
import functools
import random
from typing import Any

import pika
import pika.frame
from hypothesis import strategies as st
from pika.spec import FRAME_MIN_SIZE, Basic

from postage.green.amqp.properties import Properties

LARGEST = 20_000_000
"""The bytes of the largest body in the tests of frames."""
FRAME_MAXES = (FRAME_MIN_SIZE, 131072)
"""The smallest value that pika takes (1.4: that of AMQP, 4.2.3; 1.5: that of RabbitMQ 4), and the
default of RabbitMQ."""
ROOMS = [frame_max - 8 for frame_max in FRAME_MAXES]
"""The bytes of a body that fit into one frame."""
EDGES = sorted({max(0, n * room + more) for room in ROOMS for n in range(4) for more in (-1, 0, 1)})
"""Sizes of bodies that fill a number of frames exactly, and one byte more or less."""


@functools.cache
def _largest() -> bytes:
    return random.Random(0).randbytes(LARGEST)


def beginning(size: int) -> bytes:
    """Return a body of *size* bytes, which is also the beginning of all larger ones."""
    return _largest()[:size]


channels = st.integers(1, 65535)
tags = st.integers(0, 2**64 - 1)

#: At most 255 bytes of UTF-8, whatever the characters are.
short_strings = st.text(st.characters(exclude_categories=["Cs"]), max_size=63)

_scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=300),
    st.binary(max_size=300),
    st.decimals(-9999, 9999, places=3).map(decimal.Decimal.normalize),
    st.datetimes(
        dt.datetime(1970, 1, 1),  # noqa: DTZ001 - the strategy adds the zone
        dt.datetime(2100, 1, 1),  # noqa: DTZ001
        timezones=st.just(dt.timezone.utc),
    ).map(lambda moment: moment.replace(microsecond=0)),
)
tables = st.dictionaries(
    short_strings,
    st.recursive(
        _scalars,
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(short_strings, inner, max_size=3)
        ),
        max_leaves=8,
    ),
    max_size=4,
)

_octets = st.integers(0, 255)
_KINDS: dict[str, st.SearchStrategy[Any]] = {
    "headers": tables,
    "delivery_mode": _octets,
    "priority": _octets,
    "timestamp": tags,
}
#: The keyword arguments of any subset of the fourteen properties.
some_properties: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {}, optional={name: _KINDS.get(name, short_strings) for name in Properties.NAMES}
)


def method(channel: int, what: Any) -> bytes:
    """Return the frame of a method, which is one of pika's classes."""
    return pika.frame.Method(channel, what).marshal()


def content(channel: int, values: dict[str, Any], body: bytes, room: int) -> list[bytes]:
    """Return a header frame, and body frames with at most *room* bytes each."""
    properties = pika.BasicProperties(**values)
    parts = [body[at : at + room] for at in range(0, len(body), room)]
    return [
        pika.frame.Header(channel, len(body), properties).marshal(),
        *(pika.frame.Body(channel, part).marshal() for part in parts),
    ]


delivers = st.builds(
    Basic.Deliver,
    consumer_tag=short_strings,
    delivery_tag=tags,
    redelivered=st.booleans(),
    exchange=short_strings,
    routing_key=short_strings,
)
confirms = st.builds(Basic.Ack, delivery_tag=tags, multiple=st.booleans()) | st.builds(
    Basic.Nack, delivery_tag=tags, multiple=st.booleans(), requeue=st.booleans()
)
