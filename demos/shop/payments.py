"""Payments: what was ordered is paid as soon as the bank answers."""

import bank
from shop_events import Ordered, Paid
from shop_shared import ShopExchange

from postage import Retry, Service, event, events


class Payments(Service):
    """Charges customers.  What cannot be paid is parked, for people to look at."""

    exchange, queue = ShopExchange, "shop-payments"
    # Once more at once, and again after half a second, and after two.  Other errors park at once.
    retry = Retry(now=1, delays=(0.5, 2), on=ConnectionError)

    def __init__(self) -> None:
        super().__init__({"name": "payments"})
        self.events = events(ShopExchange)

    @event(Ordered)
    def on_ordered(self, event: Ordered) -> None:
        bank.transfer(event.order, event.customer, event.total)
        self.events.publish(Paid(event.order, event.total))
