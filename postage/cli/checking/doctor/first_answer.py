"""What the first bytes of a server tell about it: is it an AMQP broker?  Pure."""

from __future__ import annotations

import enum

HEADER = b"AMQP\x00\x00\x09\x01"
"""What a client of AMQP 0-9-1 sends first (AMQP 0-9-1, 4.2.2)."""
NUDGE = b"\r\n\r\n"
"""Ends the request that an HTTP server takes `HEADER` for, and so gets its answer."""
_METHOD = b"\x01\x00\x00"
_ALERT = b"\x15\x03"


class Speech(enum.Enum):
    """What a server speaks, as far as its first answer tells."""

    AMQP = "AMQP 0-9-1"
    OTHER_AMQP = "another version of AMQP"
    HTTP = "HTTP"
    TLS = "TLS"
    SOMETHING = "another protocol"
    SILENT = "nothing"
    CLOSED = "nothing: it closed the connection"


def speech_of(answer: bytes, *, ended: bool) -> Speech:
    """Return what *answer* is, the bytes that came before the limit or, if *ended*, the end."""
    if not answer:
        return Speech.CLOSED if ended else Speech.SILENT
    if answer.startswith(_METHOD):  # connection.start, on channel 0
        return Speech.AMQP
    for start, speech in _STARTS.items():
        if answer.startswith(start):
            return speech
    return Speech.SOMETHING


_STARTS = {
    b"AMQP": Speech.OTHER_AMQP,
    b"HTTP/": Speech.HTTP,
    b"<": Speech.HTTP,
    _ALERT: Speech.TLS,
}
