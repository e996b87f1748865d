"""Traces of typed services: clients and publishers of events take hooks, as producers do."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from postage import Application, Service, client, command, event, events, rpc
from postage.services import later
from tests.services.shop import OutOfStock, placed
from tests.support.endpoints import Endpoint
from tests.support.running import running
from tests.support.spans import Spans

pytestmark = pytest.mark.usefixtures("broker_env")


@dataclass
class Sold:
    """An event."""

    count: int


class Stock(Service):
    """Calls, commands, events and streams."""

    @rpc(raises=(OutOfStock,))
    def reserve(self, count: int) -> int:
        if count > 9:
            raise OutOfStock(count)
        return count

    @rpc
    def numbers(self, count: int) -> Iterator[int]:
        yield from range(count)

    @command
    def restock(self, count: int) -> None:
        """Is only seen in the trace."""

    @event(Sold)
    def on_sold(self, event: Sold) -> None:
        """Is only seen in the trace."""


@pytest.fixture
def spans() -> Spans:
    return Spans()


def test_calls_and_commands_of_a_client_are_traced(endpoint: Endpoint, spans: Spans):
    kind = placed(Stock, endpoint, around=[spans.hook])
    stock = client(kind, around=[spans.hook])
    name = endpoint.queue
    with running(kind()):
        assert stock.reserve(1) == 1
        assert later(stock.reserve)(2).get() == 2
        with pytest.raises(OutOfStock):
            stock.reserve(10)
        stock.restock(1)
        spans.wait(8)

    call = (f"{name}/reserve", [(f"{name}/reserve", [])])
    way = f"{name}:{name}"
    assert spans.trees == [*[call] * 3, (f"publish {way}", [(f"process {way}", [])])]
    failed = [s.attributes.get("error.type", "").rpartition(".")[2] for s in spans.all]
    assert failed == ["", "", "", "", "OutOfStock", "OutOfStock", "", ""]


def test_functions_are_traced(endpoint: Endpoint, spans: Spans):
    prices = Application(endpoint.queue, exchange=endpoint.exchange, around=[spans.hook])

    @prices.rpc
    def price(item: str) -> int:
        return len(item)

    with running(prices()):
        assert prices.client(price, around=[spans.hook])("bolt") == 4
        spans.wait(2)

    name = f"{endpoint.queue}/price"
    assert spans.trees == [(name, [(name, [])])]


def test_events_are_traced(endpoint: Endpoint, spans: Spans):
    endpoint.exchange.exchange_type = "topic"
    with running(placed(Stock, endpoint, around=[spans.hook])()):
        events(endpoint.exchange, around=[spans.hook]).publish(Sold(1))
        spans.wait(2)

    name = endpoint.queue
    assert spans.trees == [(f"publish {name}:Sold", [(f"process {name}:Sold:{name}", [])])]


def test_a_stream_is_one_span_of_its_server(endpoint: Endpoint, spans: Spans):
    """The span of the caller ends when the stream is open."""
    kind = placed(Stock, endpoint, around=[spans.hook])
    stock = client(kind, around=[spans.hook])
    with running(kind()):
        assert list(stock.numbers(3)) == [0, 1, 2]
        called, answered = spans.wait(2)

    assert answered.parent.span_id == called.context.span_id
    assert answered.attributes["rpc.response.status_code"] == "success"
    assert "rpc.response.status_code" not in called.attributes
