"""Counts of what all components did since the last line."""

from collections import Counter

from postage.green.runtime import runtime_of

tally = Counter()


def show(settings):
    """Print the tally, and how many connections this process has, as one line."""
    did = f"{tally['calls']} calls, {tally['messages']} messages, {tally['errors']} errors"
    print(
        f"{did} this second; {len(runtime_of(settings).pair.connections)} connections", flush=True
    )
    tally.clear()
