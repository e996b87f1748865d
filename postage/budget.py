"""The budget of bytes in hand: which consumers must take fewer messages in advance.  Pure.

How it works
------------
Prefetch counts messages.  What a process can bear are bytes: 250 messages of 16 MiB are 4 GB, and
decoded they may be fifty times that.  So the deliveries that a process has received and not yet
settled are weighed from time to time, and compared with the setting ``memory``:

* Above `FULL` of the budget, the consumers that hold the most get a window of one message
  (`too_heavy`).  Messages stay with the broker then.  A consumer always has a window of at least
  one, so a message over the whole budget is handled, too, and no handler waits in vain for a
  message of another queue.
* Below `EASY` of it, smaller windows grow again, as far as the heaviest message of late allows
  (`wider`).

Nothing is counted for each message: before `step` further bytes have arrived, the deliveries need
not be weighed again.
"""

from __future__ import annotations

import enum
from collections.abc import Hashable, Mapping
from typing import NamedTuple, TypeVar

from postage.values import MAX_SHORT_INT

# fmt: off
__all__ = [
    "WINDOW_MOVES", "Holding", "WindowEvent", "WindowState", "next_window_state", "step",
    "too_heavy", "weight", "wider",
]
# fmt: on

FULL = 0.75
"""The part of the budget above which windows shrink.  The rest is for what is on its way."""
EASY = 0.5
"""The part of the budget below which windows grow."""
LOOKS = 200
"""The deliveries are weighed whenever this part of the budget has arrived.  As decoding makes up to
50 times as much of it, that is a quarter of the budget at most."""
GROWTH = 8
"""By how much a window may grow at a time."""
DELIVERY = 500
"""The bytes of the objects of a delivery besides its header and body."""

Key = TypeVar("Key", bound=Hashable)


def weight(body: bytes) -> int:
    """Return about how many bytes *body* takes as it came and decoded from JSON.

    CPython needs for each object, array, member and element what is counted here, or less: the
    result is 1.0 to 2.7 times the truth for dense structures, and up to 7 times for small numbers.
    In other formats the same bytes are rare.
    """
    structure = 72 * (body.count(b"{") + body.count(b",")) + 90 * body.count(b"[")
    # A text has 1 byte for each character, but 4 if a single one needs them.
    texts = len(body) * (2 if body.isascii() else 5)
    return DELIVERY + texts + structure + 140 * body.count(b":")


def step(limit: int) -> int:
    """Return how many bytes may arrive before the deliveries are weighed again."""
    return limit // LOOKS


class Holding(NamedTuple):
    """What a consumer has in hand."""

    window: int
    """How many messages the broker sends it before it waits for an ack; 0: any number."""
    full: int
    """The prefetch that its class asks for; 0: any number."""
    weight: int = 0
    """Bytes in hand."""
    heaviest: int = 0
    """Bytes of its heaviest message of late."""


def too_heavy(holdings: Mapping[Key, Holding], total: int, limit: int) -> list[Key]:
    """Return the consumers that must take one message at a time from now on.

    *total* is the weight of all that the process has in hand.  If it is above `FULL` of *limit*,
    these are the consumers that hold more than one message and at least the mean weight.
    """
    if total <= FULL * limit:
        return []
    able = {key: each.weight for key, each in holdings.items() if each.window != 1 and each.weight}
    mean = sum(able.values()) / max(len(able), 1)
    return [key for key, held in able.items() if held >= mean]


def wider(holdings: Mapping[Key, Holding], total: int, limit: int) -> dict[Key, int]:
    """Return the windows that may grow, with their new sizes.

    They may, if *total* is below `EASY` of *limit*, as long as all of them, full of their heaviest
    messages, would stay below `FULL` of it.
    """
    grown: dict[Key, int] = {}
    if total > EASY * limit:
        return grown
    expected = total
    for key, each in sorted(holdings.items(), key=lambda item: item[1].window):
        most = each.full or MAX_SHORT_INT
        if not 0 < each.window < most:
            continue
        heaviest = max(each.heaviest, DELIVERY)
        # What it has in hand counts, too: the new consumer does not wait until that is settled.
        fitting = int((FULL * limit - expected) // heaviest)
        size = min(most, fitting, each.window * GROWTH)
        if size > each.window:
            grown[key] = size
            expected += size * heaviest
    return grown


# --- how a window changes


class WindowState(enum.Enum):
    """Whether a window can change."""

    OPEN = enum.auto()
    """Its consumer runs."""
    CHANGING = enum.auto()
    """Its consumer is cancelled, and starts again with another prefetch."""
    ENDED = enum.auto()
    """Its consumer has ended."""


class WindowEvent(enum.Enum):
    """What can happen to a window."""

    CHANGE = enum.auto()
    """It gets another size."""
    CHANGED = enum.auto()
    """The consumer has started again with the new size."""
    END = enum.auto()
    """The consumer is to end."""


WINDOW_MOVES: Mapping[WindowState, Mapping[WindowEvent, WindowState]] = {
    WindowState.OPEN: {
        WindowEvent.CHANGE: WindowState.CHANGING,
        WindowEvent.END: WindowState.ENDED,
    },
    WindowState.CHANGING: {
        WindowEvent.CHANGED: WindowState.OPEN,
        WindowEvent.END: WindowState.ENDED,
    },
    # The answer of the broker may arrive after the end.
    WindowState.ENDED: {
        WindowEvent.CHANGED: WindowState.ENDED,
        WindowEvent.END: WindowState.ENDED,
    },
}


def next_window_state(state: WindowState, event: WindowEvent) -> WindowState:
    """Return the state after *event*; raise `AssertionError` where *event* cannot happen."""
    if event not in WINDOW_MOVES[state]:
        raise AssertionError(f"{event.name} cannot happen to a window that is {state.name}")
    return WINDOW_MOVES[state][event]
