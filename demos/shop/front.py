"""The pages of the web front: each request is a greenlet, which calls services."""

from dataclasses import asdict
from typing import Any

from audit import audit, follow, trail
from flask import Flask, Response, request
from orders import Orders
from shop_shared import NoSuchOrder
from stock import OutOfStock, Stock

from postage import BadParameters, PostageError, client

WEB = {"name": "web", "type": "front"}  # so services know who calls: a front has no queue
STATUS = {BadParameters: 400, NoSuchOrder: 404, OutOfStock: 409, PostageError: 503}


def make_front() -> Flask:
    front = Flask("shop")
    orders, stock = client(Orders, fingerprint=WEB), client(Stock, fingerprint=WEB)
    trail_there = audit.client(trail, fingerprint=WEB)
    follow_there = audit.client(follow, fingerprint=WEB)

    @front.post("/orders")
    def order() -> tuple[dict[str, Any], int]:
        return asdict(orders.place(request.json)), 201  # BadParameters, if it is no Basket

    @front.get("/orders/<order>/news")
    def news(order: str) -> Response:
        trail_there(order)  # an order that nobody knows is told before the answer begins
        return Response(f"{line}\n" for line in follow_there(order))

    front.get("/orders/<order>")(trail_there)
    front.get("/stock")(stock.left)
    for error, status in STATUS.items():
        front.register_error_handler(error, lambda exc, code=status: ({"error": str(exc)}, code))
    return front
