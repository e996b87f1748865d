"""A bank behind a bad line, which hears of a payment at the third try only."""

from collections import Counter

ACCOUNTS = {"alice", "bob"}
tries = Counter[str]()


def transfer(order: str, customer: str, amount: int) -> None:
    """Pay for *order*, once: a message may arrive twice, as its sender may not know it arrived."""
    if customer not in ACCOUNTS:
        raise LookupError(f"{customer!r} has no account, and owes {amount}")
    tries[order] += 1
    if tries[order] <= 2:  # noqa: PLR2004 - see above
        raise ConnectionError("the bank does not answer")
