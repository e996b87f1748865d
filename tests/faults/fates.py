"""What becomes of each message of a run of `tests.faults.kills`.  Pure.

The fate of a message is drawn from the seed and its number, so a worker that gets a message again
does with it what the worker before it did, and each message ends in one way only.
"""

from __future__ import annotations

import random

from postage import Retry

POLICIES: dict[str, Retry | None] = {
    "fine": None,
    "once": Retry(now=1),
    "later": Retry(delays=(0.3, 1.0), jitter=0),
    "mixed": Retry(now=1, delays=(0.5,), jitter=0),
    "ask": None,
    "exhaust": Retry(delays=(0.2, 0.4), jitter=0),
    "give_up": None,
    "refuse": None,
    "malformed": None,
}
"""The kinds of messages, each with a handler of its name, and the policy of that handler."""
PARKED = {"exhaust": "failed", "give_up": "gave-up", "refuse": "rejected", "malformed": "malformed"}
"""The kinds that end in the parking queue, and why; all others are done."""
ASKED = (0.1, 0.25, 0.7, 1.4, 2.8)
"""The seconds for which handlers of the kind ``ask`` ask."""


def fate(seed: int, number: int) -> str:
    """Return the kind of the message *number*."""
    return random.Random(f"{seed} {number}").choice(list(POLICIES))


def asked(number: int, attempt: int) -> float:
    """Return the seconds for which the handler of a message of the kind ``ask`` asks."""
    return ASKED[(number + attempt) % len(ASKED)]
