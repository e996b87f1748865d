"""What is on the shelves."""

from shop_shared import Count, Reservation, ShopExchange

from postage import Service, command, rpc

PRICES = {"bolt": 5, "nut": 2, "screw": 4}


class OutOfStock(Exception):
    """Has the item, and how many are left; a client makes it again from its arguments."""


class Stock(Service):
    """Reserves items for customers."""

    exchange, queue = ShopExchange, "shop-stock"

    def __init__(self) -> None:
        super().__init__({"name": "stock"})
        self.shelves = dict.fromkeys(PRICES, 100)

    @rpc(raises=(OutOfStock,))
    def reserve(self, item: str, count: Count = 1) -> Reservation:
        left = self.shelves.get(item, 0)
        if count > left:
            raise OutOfStock(item, left)
        self.shelves[item] -= count
        return Reservation(item, count, count * PRICES[item])

    @rpc
    def left(self) -> dict[str, int]:
        return self.shelves

    @command
    def restock(self, item: str, count: Count) -> None:
        self.shelves[item] += count
