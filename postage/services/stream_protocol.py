"""Streamed replies on the wire, and what both sides know of a stream.  No I/O.

How it works
------------
A streamed reply is a reply of many messages.  Each side of the stream has a queue of its own, which
lives as long as its side: the caller's is the ``reply_to`` of the request, and the server's is the
``reply_to`` of all that the server sends.  All messages have the correlation id of the request, one
of the types below, and a number in the header `NUMBER`:

1. The request of the caller has the header, with the number of parts that may be sent for now.
2. The server accepts the stream (`ACCEPTED`, number 0), and then sends parts (`PART`: 1, 2, 3...).
3. Whenever the caller has taken half of what it allowed, it allows more (`CREDIT`: how many parts
   may have been sent altogether).  The server waits at that number.
4. The server ends with a result message, such as an exception (`END`: the number of parts before
   it); or the caller stops (`STOP`).

Numbers are totals, so a credit that is lost or repeated does no harm, and the loss of a part is
noticed with the next one.  All messages are mandatory: if the broker returns one, the other side is
gone, because it has ended, was killed, or has lost its connection.  To learn that, a side repeats
its last message after `PULSE` seconds without a part.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Any

# fmt: off
__all__ = [
    "ACCEPTED", "CREDIT", "END", "FIRST_WINDOW", "NUMBER", "PART", "PULSE", "STOP", "STREAMS",
    "STREAM_MOVES", "StreamEvent", "StreamFlow", "StreamState", "next_stream_state", "number_in",
]
# fmt: on

NUMBER = "x-postage-stream"
"""The header with the number of a message."""
ACCEPTED, PART, END = "postage.stream", "postage.part", "postage.end"
"""The property ``type`` of what a server sends."""
CREDIT, STOP = "postage.credit", "postage.stop"
"""The property ``type`` of what a caller sends to the server of its stream."""

STREAMS = "HandlerStreams"
"""The name of the exception for a caller that does not ask for a stream."""

FIRST_WINDOW = 10
"""Parts that a server may send before the caller knows how large they are."""
WINDOW = 100
"""Parts that may be on their way at most."""
SHARE = 8
"""The parts on their way may take the 8th part of the setting ``memory``."""
PULSE = 1.0
"""Seconds without a part after which a side asks whether the other side still exists."""


def number_in(headers: Mapping[str, Any] | None) -> int | None:
    """Return the number in the *headers* of a message of a stream; None if there is none."""
    number = (headers or {}).get(NUMBER)
    # pika has a subclass of int for large numbers, and bool is one, too.
    if not isinstance(number, int) or isinstance(number, bool) or number < 0:
        return None
    return number


class StreamState(enum.Enum):
    """Where a stream is, for its caller."""

    OPENING = enum.auto()
    """The request was sent, or is about to be."""
    FLOWING = enum.auto()
    """A server has accepted it."""
    LEFT = enum.auto()
    """The server is gone, and the rest of what it has sent is on its way."""
    ENDED = enum.auto()
    """Nothing more will arrive."""


class StreamEvent(enum.Enum):
    """What can happen to a stream."""

    ACCEPTED = enum.auto()
    """The first server has accepted it or, if the request was delivered twice, another one."""
    RETURNED = enum.auto()
    """A credit was returned."""
    ENDED = enum.auto()
    """The server, a failure, or the caller has ended it."""


_OPENING, _FLOWING, _LEFT, _ENDED = StreamState
_E = StreamEvent

STREAM_MOVES: Mapping[StreamState, Mapping[StreamEvent, StreamState]] = {
    _OPENING: {_E.ACCEPTED: _FLOWING, _E.ENDED: _ENDED},
    _FLOWING: {_E.ACCEPTED: _FLOWING, _E.RETURNED: _LEFT, _E.ENDED: _ENDED},
    _LEFT: {_E.ACCEPTED: _LEFT, _E.RETURNED: _LEFT, _E.ENDED: _ENDED},
    _ENDED: dict.fromkeys(_E, _ENDED),
}


def next_stream_state(state: StreamState, event: StreamEvent) -> StreamState:
    """Return the state after *event*; raise `AssertionError` if it cannot happen in *state*."""
    try:
        return STREAM_MOVES[state][event]
    except KeyError:
        text = f"{event.name} cannot happen to a stream that is {state.name}"
        raise AssertionError(text) from None


class StreamFlow:
    """The numbers of a stream at its caller, which may use *memory* bytes for its messages."""

    def __init__(self, memory: int) -> None:
        self._memory, self._largest = memory // SHARE, 1
        self.allowed = FIRST_WINDOW
        """How many parts the server may have sent."""
        self.arrived = 0
        """How many parts have arrived."""
        self.taken = 0
        """How many parts the program has taken."""

    @property
    def window(self) -> int:
        """How many parts of the largest size so far may be on their way."""
        return max(1, min(WINDOW, self._memory // self._largest))

    def arrive(self, number: int | None, size: int) -> str:
        """Note a part with *number*, of *size* bytes; return what is wrong with it, if anything."""
        if number != self.arrived + 1:
            return f"part {self.arrived + 1} was lost: after it, part {number} has arrived"
        if number > self.allowed:
            return f"the server sends more than the {self.allowed} parts that it may send"
        self.arrived = number
        self._largest = max(self._largest, size)
        return ""

    def take(self) -> bool:
        """Note that the program has taken a part; return whether the server may send more now."""
        self.taken += 1
        window = self.window
        if self.allowed - self.taken > window // 2:
            return False
        self.allowed = max(self.allowed, self.taken + window)
        return True

    def missing_at(self, number: int | None) -> str:
        """Return what is wrong with the end of a stream after *number* parts, if anything."""
        if number == self.arrived:
            return ""
        return f"parts were lost: {self.arrived} of {number} have arrived"
