"""Mistakes in programs that use the shop of demos/shop: mypy --strict and pyright must find them.

A comment on each of these lines names the code of mypy, and then the rule of pyright.
"""

from __future__ import annotations

from typing import Protocol

from audit import audit, trail
from orders import Orders
from shop_events import Ordered
from shop_shared import Basket, Reservation, ShopExchange
from stock import OutOfStock, Stock

from postage import Service, client, event, events, later, options, rpc

stock, orders = client(Stock), client(Orders)

# --- a misspelt method
stock.reserv("bolt")  # refused: attr-defined, reportAttributeAccessIssue
orders.placed(Basket("alice", {"bolt": 1}))  # refused: attr-defined, reportAttributeAccessIssue
later(stock.rserve)  # refused: attr-defined, reportAttributeAccessIssue

# --- a wrong type
stock.reserve(5)  # refused: arg-type, reportArgumentType
stock.reserve("bolt", count="3")  # refused: arg-type, reportArgumentType
stock.restock("bolt", None)  # refused: arg-type, reportArgumentType
orders.place({"customer": "alice"})  # refused: arg-type, reportArgumentType
orders.place(Basket("alice", ["bolt"]))  # refused: arg-type, reportArgumentType
later(stock.reserve)("bolt", "3")  # refused: arg-type, reportArgumentType
audit.client(trail)(5)  # refused: arg-type, reportArgumentType

# --- a missing argument, and one too many
stock.reserve()  # refused: call-arg, reportCallIssue
stock.restock("bolt")  # refused: call-arg, reportCallIssue
stock.reserve("bolt", cuont=3)  # refused: call-arg, reportCallIssue
stock.left("bolt")  # refused: call-arg, reportCallIssue
later(orders.place)()  # refused: call-arg, reportCallIssue
Basket("alice")  # refused: call-arg, reportCallIssue

# --- a wrong use of a result
number: int = stock.reserve("bolt")  # refused: assignment, reportAssignmentType
print(stock.reserve("bolt").cuont)  # refused: attr-defined, reportAttributeAccessIssue
print(orders.place(Basket("alice", {"bolt": 1})) + 1)  # refused: operator, reportOperatorIssue
print(stock.left()["bolt"].upper())  # refused: attr-defined, reportAttributeAccessIssue
waiting: Reservation = later(stock.reserve)("bolt")  # refused: assignment, reportAssignmentType
text: str = later(stock.reserve)("bolt").get().price  # refused: assignment, reportAssignmentType
for line in audit.client(trail)("1"):
    print(line + 1)  # refused: operator, reportOperatorIssue

# --- options, events and exceptions
with options(stock, timeout="1"):  # refused: arg-type, reportArgumentType
    events(ShopExchange).publish(Ordered("1", "alice"))  # refused: call-arg, reportCallIssue
try:
    stock.reserve("bolt")
except OutOfStock as exc:
    print(exc.left)  # refused: attr-defined, reportAttributeAccessIssue


# --- services
class Shelves(Protocol):
    @rpc
    def reserve(self, item: str, count: int, price: int) -> Reservation: ...


served: type[Shelves] = Stock  # refused: assignment, reportAssignmentType


class Letters(Service):
    exchange, queue = ShopExchange, "shop-letters"

    @event(Ordered)  # refused: arg-type, reportArgumentType
    def on_ordered(self, event: str) -> None:
        """Its argument is no Ordered."""

    @rpc
    def total(self, basket: Basket) -> int:
        return basket.items  # refused: return-value, reportReturnType
