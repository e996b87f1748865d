"""Clients that know signatures, and no code of the server."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Protocol

import msgspec
import pytest

from postage import (
    BadParameters,
    HandlerError,
    MessageProcessor,
    NoRoute,
    Quorum,
    RpcHandler,
    Service,
    SettingsError,
    client,
    command,
    event,
    later,
    options,
    rpc,
)
from postage.testing.polling import wait_until
from tests.services.shop import OutOfStock, Reservation, placed
from tests.support.running import SOON, running

pytestmark = pytest.mark.usefixtures("broker_env")


class Stock(Service):
    def __init__(self, *args: Any, **kwds: Any) -> None:
        self.seen: list[Any] = []
        super().__init__(*args, **kwds)

    @rpc(raises=(OutOfStock,))
    def reserve(self, item: str, count: int = 1) -> Reservation:
        if count > 10:
            raise OutOfStock(item)
        return Reservation(item, count)

    @command
    def restock(self, item: str) -> None:
        self.seen.append(item)

    @rpc
    def queue_of(self) -> str:
        return "of the service"


class Restocking(Protocol):
    @command
    def restock(self, item: str) -> None: ...


class Shelves(Restocking, Protocol):
    """An interface may inherit another."""

    @rpc(raises=(OutOfStock,))
    def reserve(self, item: str, count: int = 1) -> Reservation: ...

    @rpc(name="queue_of")
    def queue(self) -> str: ...

    def unmarked(self) -> int: ...


class Abstract(ABC):
    @rpc(raises=(OutOfStock,))
    @abstractmethod
    def reserve(self, item: str, count: int = 1) -> Reservation: ...

    @abstractmethod
    @command
    def restock(self, item: str) -> None: ...

    @rpc(name="queue_of")
    def queue(self) -> str:
        raise AssertionError("the code of an interface never runs")


class Simple:
    @rpc(raises=(OutOfStock,))
    def reserve(self, item: str, count: int = 1) -> Reservation:
        raise AssertionError("the code of an interface never runs")

    @command
    def restock(self, item: str) -> None: ...

    @rpc(name="queue_of")
    def queue(self) -> str:
        raise AssertionError("the code of an interface never runs")


@pytest.mark.parametrize("interface", [Shelves, Abstract, Simple])
def test_a_client_needs_no_code_of_the_server(endpoint, interface):
    stock = client(interface, exchange=endpoint.exchange, queue=endpoint.queue)
    server = placed(Stock, endpoint)({"name": "stock"})
    with running(server):
        assert stock.reserve("bolt", count=3) == Reservation("bolt", 3)
        assert later(stock.reserve)("nut").get() == Reservation("nut", 1)
        with pytest.raises(OutOfStock):
            stock.reserve("bolt", 11)
        with pytest.raises(BadParameters):
            stock.reserve(5)
        with options(stock, timeout=5):
            assert stock.queue() == "of the service"
        stock.restock("bolt")
        wait_until(lambda: server.seen == ["bolt"], SOON)
    assert interface.__name__ in repr(stock)
    assert {"reserve", "restock", "queue"} <= set(dir(stock))
    with pytest.raises(AttributeError, match="has no call or command 'unmarked'"):
        stock.unmarked()


def test_an_interface_may_say_where_the_service_is(endpoint):
    where = {"exchange": endpoint.exchange, "queue": Quorum(endpoint.queue)}
    located = type("Located", (), {**where, "reserve": Simple.reserve})
    with running(placed(Stock, endpoint)({"name": "stock"})):
        assert client(located).reserve("bolt").count == 1
        elsewhere = client(located, queue="nobody-listens")
        with options(elsewhere, timeout=0.5, max_retry=0), pytest.raises(NoRoute, match="nobody"):
            elsewhere.reserve("bolt")


def test_a_service_with_an_eqk_is_called_where_the_client_says(endpoint):
    kind = type("Stock", (Stock,), {"eqk": endpoint.eqk})
    with pytest.raises(SettingsError, match=r"write client\(..., exchange=..., queue=...\)"):
        client(kind)
    stock = client(kind, exchange=endpoint.exchange, queue=endpoint.key)
    with running(kind({"name": "stock"})):
        assert stock.reserve("bolt").count == 1


def test_an_interface_may_describe_a_classic_processor(endpoint):
    class Classic(MessageProcessor):
        eqk = endpoint.eqk

        @RpcHandler("command", "reserve")
        def on_reserve(self, content, reply):
            reply({"item": content["parameters"]["item"], "count": 7})

    stock = client(Shelves, exchange=endpoint.exchange, queue=endpoint.key)
    with running(Classic({"name": "classic"})):
        assert stock.reserve("bolt") == Reservation("bolt", 7)


class Ordered(msgspec.Struct):
    item: str


class Nothing(Protocol):
    def reserve(self, item: str) -> int: ...


class OnlyEvents(Protocol):
    @event(Ordered)
    def on_ordered(self, event: Ordered) -> None: ...


class Unresolved(Protocol):
    @rpc
    def reserve(self, item: Missing) -> int: ...  # type: ignore[name-defined]  # noqa: F821


class AnyArguments(Protocol):
    @rpc
    def reserve(self, *items: str) -> int: ...


class Mixed(Protocol):
    @rpc
    @RpcHandler("command", "reserve")
    def reserve(self, item: str) -> int: ...


@pytest.mark.parametrize(
    ("interface", "told"),
    [
        (Nothing, "has no method with @rpc or @command"),
        (OnlyEvents, "has no method with @rpc or @command"),
        (Service, "has no method with @rpc or @command"),
        (object, "has no method with @rpc or @command"),
        (5, "takes a class with signatures, not 5"),
        (Stock.reserve, "takes a class with signatures"),
        (Unresolved, "Unresolved.reserve has a hint that cannot be resolved"),
        (AnyArguments, "AnyArguments.reserve takes any arguments"),
        (Mixed, "Mixed.reserve has a classic and a typed decorator"),
    ],
    ids=["plain", "events", "Service", "object", "5", "method", "hint", "arguments", "mixed"],
)
def test_what_is_no_interface_is_refused(interface, told):
    with pytest.raises(SettingsError) as raised:
        client(interface, queue="stock")
    assert told in str(raised.value)
    assert isinstance(raised.value, HandlerError) == (".reserve " in told)


def test_an_interface_without_an_address_is_refused():
    with pytest.raises(SettingsError, match="has no exchange and queue"):
        client(Shelves)  # its queue is a call
