"""How a connection is opened: its stages as a table, and what both sides negotiate.

`TRANSITIONS` lists what may happen to a connection at each stage, and the stage that follows.  A
client first sends the protocol header and then one method for each stage up to `Stage.OPEN`.  From
every stage the connection may close: at once (`StageEvent.ENDED`), or after the broker has reported
a mistake and the client has confirmed that (`StageEvent.FAILED`).
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Any, NamedTuple

from postage._version import __version__
from postage.broker.core.likeness import Likeness
from postage.broker.core.limits import Limits
from postage.broker.wire.exceptions import ConnectionFault
from postage.broker.wire.fields import decode_table
from postage.broker.wire.methods import MethodCall, encode

__all__ = [
    "TRANSITIONS",
    "Stage",
    "StageEvent",
    "Tuning",
    "announces",
    "credentials",
    "describe",
    "negotiate",
    "next_stage",
    "start",
    "tune",
]


LONGEST_NAME = 255
"""Characters that are kept of the name of a connection."""

CAPABILITIES = ("consumer_cancel_notify", "connection.blocked", "authentication_failure_close")
"""The capabilities of clients that the broker acts on."""


class Stage(enum.Enum):
    """How far a connection has come; the values are RabbitMQ's names."""

    GREETING = "handshake"
    STARTING = "starting"
    SECURING = "securing"
    """The client has sent its password, which is checked now or in a few seconds."""
    TUNING = "tuning"
    OPENING = "opening"
    OPEN = "running"
    CLOSING = "closing"
    CLOSED = "closed"


class StageEvent(enum.Enum):
    """What can happen to a connection."""

    GREETED = enum.auto()
    """The client has sent the protocol header."""
    ANSWERED = enum.auto()
    """The client has sent its password."""
    LOGGED_IN = enum.auto()
    TUNED = enum.auto()
    OPENED = enum.auto()
    FAILED = enum.auto()
    """The broker has sent connection.close and waits for connection.close-ok."""
    ENDED = enum.auto()


_CLOSES = {StageEvent.FAILED: Stage.CLOSING, StageEvent.ENDED: Stage.CLOSED}

TRANSITIONS: Mapping[Stage, Mapping[StageEvent, Stage]] = {
    Stage.GREETING: {StageEvent.GREETED: Stage.STARTING, StageEvent.ENDED: Stage.CLOSED},
    Stage.STARTING: {StageEvent.ANSWERED: Stage.SECURING, **_CLOSES},
    Stage.SECURING: {StageEvent.LOGGED_IN: Stage.TUNING, **_CLOSES},
    Stage.TUNING: {StageEvent.TUNED: Stage.OPENING, **_CLOSES},
    Stage.OPENING: {StageEvent.OPENED: Stage.OPEN, **_CLOSES},
    Stage.OPEN: _CLOSES,
    # A client may make more mistakes before it reads about the first: only that one is reported.
    Stage.CLOSING: _CLOSES,
    Stage.CLOSED: {StageEvent.FAILED: Stage.CLOSED, StageEvent.ENDED: Stage.CLOSED},
}


def next_stage(stage: Stage, event: StageEvent) -> Stage:
    """Return the stage after *event*; raise `AssertionError` for an event that cannot happen."""
    if event not in TRANSITIONS[stage]:
        raise AssertionError(f"{event.name} cannot happen to a connection in stage {stage.name}")
    return TRANSITIONS[stage][event]


class Tuning(NamedTuple):
    """The settings of a connection that broker and client have agreed on."""

    frame_max: int
    channel_max: int
    heartbeat: int
    """Seconds; 0: none."""


def start(likeness: Likeness) -> bytes:
    """Return connection.start, the answer to the protocol header."""
    return encode(
        0,
        "connection.start",
        version_major=0,
        version_minor=9,
        server_properties=_PROPERTIES | {"version": likeness.version},
        mechanisms="PLAIN AMQPLAIN",
        locales="en_US",
    )


def credentials(mechanism: str, response: bytes) -> tuple[str, str]:
    """Return user and password from a SASL response; raise 503 for an unknown mechanism."""
    if mechanism == "PLAIN":
        parts = response.split(b"\x00")
        if len(parts) == 3:  # noqa: PLR2004 - identity to act as, user, password (RFC 4616)
            return parts[1].decode("utf-8", "replace"), parts[2].decode("utf-8", "replace")
    elif mechanism == "AMQPLAIN":
        table, _ = decode_table(len(response).to_bytes(4, "big") + response, 0)
        return str(table.get("LOGIN", "")), str(table.get("PASSWORD", ""))
    else:
        raise ConnectionFault(503, f"unknown authentication mechanism '{mechanism}'")
    return "", ""


def announces(properties: bytes, capability: str) -> bool:
    """Tell whether encoded client *properties* announce a *capability*, without decoding them.

    Decoding costs more than all else that a client without a password makes the broker do.
    """
    return capability.encode() + b"t\x01" in properties


def describe(properties: bytes) -> tuple[str, frozenset[str]]:
    """Return the name of a client, and those of the `CAPABILITIES` that it has, from *properties*.

    Raises `SyntaxFault` if they cannot be decoded.
    """
    table, _ = decode_table(len(properties).to_bytes(4, "big") + properties, 0)
    announced = table.get("capabilities")
    found = announced if isinstance(announced, dict) else {}
    name = str(table.get("connection_name", ""))[:LONGEST_NAME]
    return name, frozenset(each for each in CAPABILITIES if found.get(each))


def tune(limits: Limits) -> bytes:
    """Return connection.tune, which proposes *limits*."""
    return encode(
        0,
        "connection.tune",
        channel_max=limits.channels,
        frame_max=limits.frame_max,
        heartbeat=limits.heartbeat,
    )


def negotiate(call: MethodCall, limits: Limits, likeness: Likeness) -> Tuning:
    """Return the settings agreed on: the client's tune-ok within *limits*; raise 530."""
    wrong, least = "", min(likeness.frame_min, limits.frame_max)
    if call.frame_max > limits.frame_max:
        wrong = f"higher than the maximum allowed value ({limits.frame_max})"
    elif 0 < call.frame_max < least:
        wrong = f"lower than the minimum allowed value ({least})"
    if wrong:
        raise ConnectionFault(530, f"negotiated frame_max = {call.frame_max} is {wrong}")
    return Tuning(
        call.frame_max or limits.frame_max,
        min(call.channel_max or limits.channels, limits.channels),
        call.heartbeat,
    )


_PROPERTIES: dict[str, Any] = {
    "product": "postage-embedded",
    "platform": f"Postage {__version__} on Python",
    "information": "For development and tests: nothing survives its end.",
    "capabilities": {
        "publisher_confirms": True,
        "exchange_exchange_bindings": True,
        "basic.nack": True,
        "consumer_cancel_notify": True,
        "connection.blocked": True,
        "consumer_priorities": True,
        "authentication_failure_close": True,
        "per_consumer_qos": True,
        "direct_reply_to": True,
    },
}
