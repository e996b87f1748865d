"""What all services of the shop know: the exchange, and what a customer may ask for."""

from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta

from postage import Exchange

Count = Annotated[int, Meta(ge=1)]  # no handler ever sees a count below 1, whatever is sent


class ShopExchange(Exchange):
    name = "shop-exchange"


@dataclass
class Basket:
    """How many of each item a customer wants."""

    customer: str
    items: Annotated[dict[str, Count], Meta(min_length=1)]


@dataclass
class Reservation:
    item: str
    count: int
    price: int


class NoSuchOrder(Exception):
    """Nobody has heard of it."""
