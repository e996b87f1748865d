"""The audit trail of each order: a service that needs no class, made of plain functions."""

from collections.abc import Iterator
from itertools import count

from shop_events import Ordered, Paid
from shop_shared import NoSuchOrder, ShopExchange
from trails import Trails

from postage import Application

audit = Application("shop-audit", exchange=ShopExchange)
trails = Trails()


@audit.event(Ordered)
def on_ordered(event: Ordered) -> None:
    trails.add(event.order, f"{event.customer} ordered for {event.total}")


@audit.event(Paid)
def on_paid(event: Paid) -> None:
    trails.add(event.order, "paid")


@audit.rpc(raises=(NoSuchOrder,))
def trail(order: str) -> list[str]:
    if order not in trails:
        raise NoSuchOrder(order)
    return trails.lines(order)


@audit.rpc
def follow(order: str) -> Iterator[str]:
    """Reply with a stream: each line when it is written, until the order is paid."""
    for number in count():
        yield (line := trails.wait_for_line(order, number))
        if line == "paid":
            return
