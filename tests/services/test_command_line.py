"""`postage call` and `postage send` reach services: what they send, print, and end with."""

from __future__ import annotations

import json
from typing import Any

import pytest

from postage import Application, Service, command, rpc
from postage.testing.polling import wait_until
from tests.services.shop import OutOfStock, placed
from tests.support.endpoints import Endpoint
from tests.support.programs import Finished, run_program
from tests.support.running import SOON, running


class Stock(Service):
    def __init__(self, *args: Any, **kwds: Any) -> None:
        self.seen: list[Any] = []
        super().__init__(*args, **kwds)

    @rpc(raises=(OutOfStock,))
    def reserve(self, item: str, count: int = 1) -> dict[str, int]:
        if count > 10:
            raise OutOfStock(item, 10)
        return {item: count}

    @command
    def restock(self, item: str, count: int) -> None:
        self.seen.append((item, count))


def as_class(endpoint: Endpoint) -> Any:
    return placed(Stock, endpoint)({"name": "stock"})


def as_functions(endpoint: Endpoint) -> Any:
    app = Application("stock", exchange=endpoint.exchange, queue=endpoint.queue)
    seen: list[Any] = []

    @app.rpc(raises=(OutOfStock,))
    def reserve(item: str, count: int = 1) -> dict[str, int]:
        return Stock.reserve(None, item, count)

    @app.command
    def restock(item: str, count: int) -> None:
        seen.append((item, count))

    made = app()
    made.seen = seen
    return made


def postage(which: str, endpoint: Endpoint, *words: str) -> Finished:
    return run_program("-m", "postage", which, endpoint.exchange.name, endpoint.queue, *words)


@pytest.mark.parametrize("made", [as_class, as_functions])
def test_the_command_line_calls_a_service(broker_env, endpoint, made):
    stock = made(endpoint)
    with running(stock):
        for words, told in (
            (("bolt",), {"bolt": 1}),
            (("bolt", "3"), {"bolt": 3}),
            (("item=bolt", "count=3"), {"bolt": 3}),
            (('{"item": "bolt"}',), {"bolt": 1}),
        ):
            called = postage("call", endpoint, "reserve", *words)
            assert (called.code, json.loads(called.stdout or "null")) == (0, told), called
        for words, text in (
            (("bolt", "many"), "BadParameters: count: Expected `int`, got `str`"),
            (("bolt", "11"), "OutOfStock: ('bolt', 10)"),
        ):
            called = postage("call", endpoint, "reserve", *words)
            assert (called.code, called.stdout, text in called.stderr) == (4, "", True), called
        assert postage("send", endpoint, "restock", "bolt", "count=5").code == 0
        wait_until(lambda: stock.seen == [("bolt", 5)], SOON)
