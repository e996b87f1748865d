"""The parts of AMQP 0-9-1 that our client (`green.amqp`) and our broker (`broker.wire`) share.

These are frames, the methods that carry messages, properties, and reply codes.  Code that reads or
writes tables is not shared: the client uses pika's types for that, the broker its own.  Numbers in
parentheses are sections of the AMQP 0-9-1 specification.
"""

from __future__ import annotations

import struct

# fmt: off
__all__ = [
    "ACCESS_REFUSED",
    "ACK",
    "BASIC",
    "BODY",
    "CONTENT_HEAD",
    "DELIVER",
    "FRAME_END",
    "FRAME_END_BYTE",
    "FRAME_HEAD",
    "FRAME_MIN_SIZE",
    "FRAME_OVERHEAD",
    "FRAME_TYPES",
    "HEADER",
    "HEARTBEAT",
    "HEARTBEAT_FRAME",
    "METHOD",
    "NACK",
    "NOT_FOUND",
    "OWN_HEADERS",
    "PROPERTIES",
    "PROPERTY_FLAGS",
    "PUBLISH",
    "REJECT",
    "RESOURCE_LOCKED",
    "SEND_ID",
    "method_id",
]
# fmt: on

# --- frames (4.2.3)

METHOD, HEADER, BODY, HEARTBEAT = 1, 2, 3, 8
FRAME_TYPES = frozenset((METHOD, HEADER, BODY, HEARTBEAT))
FRAME_HEAD = struct.Struct(">BHI")
"""Type, channel and size of the payload."""
FRAME_END_BYTE = 0xCE
FRAME_END = bytes((FRAME_END_BYTE,))
FRAME_OVERHEAD = 8
"""Bytes that a frame adds to its payload: the head and the end."""
FRAME_MIN_SIZE = 4096
"""Bytes of a frame that every peer must accept; both may agree on more."""
HEARTBEAT_FRAME = FRAME_HEAD.pack(HEARTBEAT, 0, 0) + FRAME_END

CONTENT_HEAD = struct.Struct(">BHIHHQ")
"""A header frame up to its property flags (4.2.6.1): frame head, class id, weight, body size."""

# --- methods (4.2.4)

BASIC = 60
"""The class id of all methods that carry or acknowledge messages."""


def method_id(class_id: int, number: int) -> bytes:
    """Return the four bytes with which the payload of a method frame begins."""
    return struct.pack(">HH", class_id, number)


PUBLISH, DELIVER, ACK, REJECT, NACK = (method_id(BASIC, n) for n in (40, 60, 80, 90, 120))

# --- properties of messages (the basic class in section 1.8 of the reference)

PROPERTIES = (
    ("content_type", "shortstr"),
    ("content_encoding", "shortstr"),
    ("headers", "table"),
    ("delivery_mode", "octet"),
    ("priority", "octet"),
    ("correlation_id", "shortstr"),
    ("reply_to", "shortstr"),
    ("expiration", "shortstr"),
    ("message_id", "shortstr"),
    ("timestamp", "timestamp"),
    ("type", "shortstr"),
    ("user_id", "shortstr"),
    ("app_id", "shortstr"),
    ("cluster_id", "shortstr"),
)
"""Names and types, in the order of the flags and of the values in a header frame."""
PROPERTY_FLAGS = {name: 1 << (15 - place) for place, (name, _) in enumerate(PROPERTIES)}
"""The bit of each property in the flags, two bytes that precede the values."""

OWN_HEADERS = "x-postage-"
"""How the names of headers begin that only Postage writes."""
SEND_ID = f"{OWN_HEADERS}send-id"
"""The header with an id of Postage's own, for a message whose ``message_id`` the program has given:
only Postage's ids are never the same for two messages."""

# --- reply codes (section 1.1 of the reference)

ACCESS_REFUSED, NOT_FOUND, RESOURCE_LOCKED = 403, 404, 405
