"""What is true of the shop of demos/shop and its customers: each edge of the map, with its rate."""

from __future__ import annotations

import time
from collections.abc import Mapping

from tests.support.programs import ROOT, Program

SHOP = ROOT / "demos" / "shop"
CUSTOMERS = str(ROOT / "tests" / "console" / "programs" / "customers.py")
SERVICES = ("stock", "orders", "payments", "audit")
SHARE = 0.05
"""By how much a rate may differ from the truth."""

_LOOKS, _ORDERS = 1, 2
_TIMES = {
    "call web>stock": (_LOOKS, 1),
    "call web>orders": (_ORDERS, 1),
    "call web>shop-audit": (_ORDERS, 1),
    "call orders>stock": (_ORDERS, 1),
    "message orders>@shop-exchange": (_ORDERS, 2),
    "message payments>@shop-exchange": (_ORDERS, 1),
    "message @shop-exchange>payments": (_ORDERS, 1),
    "message @shop-exchange>shop-audit": (_ORDERS, 2),
}
"""Each edge of the shop: what customers do, and how often a message passes the edge for it.  Two
components hear of an order, and one of its payment."""
EDGES = _TIMES.keys()
STEADY = EDGES - {"message payments>@shop-exchange", "message @shop-exchange>shop-audit"}
"""Edges with a steady rate.  The others have payments, which come after a random pause: the bank
hears of each at the third try only.  So a few of them tell no rate."""


def true_rates(customers: Program, seconds: float = 10) -> dict[str, float]:
    """Return the rate of each edge in the last *seconds*, by what *customers* have printed."""
    lines = [line.split() for line in customers.stdout.rpartition("\n")[0].split("\n")]
    recent = [line for line in lines if float(line[0]) > time.monotonic() - seconds]
    first, last = ([float(each) for each in line] for line in (recent[0], recent[-1]))
    did = {which: (last[which] - first[which]) / (last[0] - first[0]) for which in (1, 2)}
    return {id_: did[which] * times for id_, (which, times) in _TIMES.items()}


def wrong_rates(
    rates: Mapping[str, float | None], true: Mapping[str, float]
) -> dict[str, tuple[float | None, float]]:
    """Return the *rates* that differ from the *true* ones by more than `SHARE`, and these."""
    return {
        id_: (rates.get(id_), rate)
        for id_, rate in true.items()
        if abs((rates.get(id_) or 0) - rate) > SHARE * rate
    }
