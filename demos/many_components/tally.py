"""Counts of what all components did since the last line."""

from collections import Counter

from postage.green.amqp.pair import pair_of

tally = Counter()


def show(settings):
    """Print the tally, and how many connections this process has, as one line."""
    did = f"{tally['calls']} calls, {tally['messages']} messages, {tally['errors']} errors"
    print(f"{did} this second; {len(pair_of(settings).connections)} connections", flush=True)
    tally.clear()
