"""Orders: all items of a basket, or none of them."""

from uuid import uuid4

from shop_events import Ordered
from shop_shared import Basket, Reservation, ShopExchange
from stock import OutOfStock, Stock

from postage import Service, client, events, later, rpc


class Orders(Service):
    """Takes orders, and tells everybody about them."""

    exchange, queue = ShopExchange, "shop-orders"

    def __init__(self) -> None:
        super().__init__({"name": "orders"})
        self.stock, self.events = client(Stock), events(ShopExchange)

    @rpc(raises=(OutOfStock,))
    def place(self, basket: Basket) -> Ordered:
        # Scatter: later() makes each call in a greenlet of its own.  Gather: get() waits for one.
        calls = [later(self.stock.reserve)(*each) for each in basket.items.items()]
        reserved, missing = list[Reservation](), list[OutOfStock]()
        for call in calls:
            try:
                reserved.append(call.get())
            except OutOfStock as exc:  # noqa: PERF203 - each of them may fail
                missing.append(exc)
        if missing:
            for each in reserved:
                self.stock.restock(each.item, each.count)
            raise missing[0]
        total = sum(each.price for each in reserved)
        ordered = Ordered(uuid4().hex[:8], basket.customer, total)
        self.events.publish(ordered)
        return ordered
