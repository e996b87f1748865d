"""Typed clients: values or exceptions, from services and from classic processors."""

from __future__ import annotations

import copy
from typing import Any

import gevent
import pytest

from postage import (
    BadParameters,
    MessageHandler,
    MessageResultError,
    NoRoute,
    RemoteError,
    RpcHandler,
    Service,
    SettingsError,
    TimeoutError,  # noqa: A004 - the classic name
    client,
    command,
    event,
    events,
    green,
    later,
    options,
    rpc,
)
from postage.testing.polling import wait_until
from tests.services.shop import Ordered, Reservation, placed
from tests.support.recorder import Recorder
from tests.support.running import SOON, running

pytestmark = pytest.mark.usefixtures("broker_env")


class OutOfStock(Exception):
    def __init__(self, item: str, left: int) -> None:
        super().__init__(item, left)
        self.item, self.left = item, left


class Odd(Exception):
    """Its arguments have no form that can be sent."""


class Changed(Exception):
    """The class of the server has other arguments than that of the client."""

    def __init__(self, one: int, two: int) -> None:
        super().__init__(one)


class Stock(Service):
    """The interface, and the service."""

    def __init__(self, *args: Any, **kwds: Any) -> None:
        self.seen: list[Any] = []
        super().__init__(*args, **kwds)

    @rpc(raises=(OutOfStock, Odd, Changed))
    def reserve(self, item: str, count: int = 1) -> Reservation:
        if item == "odd":
            raise Odd(float("nan") if count > 1 else object())
        if item == "changed":
            raise Changed(1, 2)
        if count > 10:
            raise OutOfStock(item, 10)
        if count == 0:
            raise ValueError("nothing")
        return Reservation(item, count)

    @rpc(name="total")
    def total_of(self, numbers: list[int], *, scale: float = 1.0) -> float:
        return sum(numbers) * scale

    @rpc
    def tenant(self) -> str | None:
        return green.message().headers.get("x-tenant")

    @rpc
    def queue_length(self, queue: str) -> int:
        return len(queue)

    @rpc
    def slow(self, seconds: float) -> None:
        gevent.sleep(seconds)

    @command
    def restock(self, item: str, count: int) -> None:
        self.seen.append((item, count, green.message().headers.get("x-tenant")))

    @event(Ordered)
    def on_ordered(self, event: Ordered) -> None:
        self.seen.append(event)


class Shelf(Service):
    """An interface without code, for a classic processor."""

    @rpc
    def double(self, number: int) -> int: ...  # type: ignore[empty-body]

    @rpc
    def wrong(self) -> Reservation: ...  # type: ignore[empty-body]

    @rpc
    def error(self) -> int: ...  # type: ignore[empty-body]

    @command
    def note(self, text: str) -> None: ...


class Classic(Recorder):
    @RpcHandler("command", "double")
    def double(self, content, reply):
        return content["parameters"]["number"] * 2

    @RpcHandler("command", "wrong")
    def wrong(self, content, reply):
        return {"item": "bolt"}

    @RpcHandler("command", "error")
    def error(self, content, reply):
        return MessageResultError("no")

    @MessageHandler("command", "note")
    def note(self, content):
        self.seen.append(content["parameters"])


def test_a_call_returns_its_value_or_raises(endpoint):
    interface = placed(Stock, endpoint)
    stock = client(interface)
    with running(interface({"name": "stock"})):
        assert stock.reserve("bolt", count=3) == Reservation("bolt", 3)
        assert stock.reserve("bolt").count == 1
        assert stock.total_of([1, 2], scale=2) == 6.0
        assert stock.total_of([]) == 0.0
        assert stock.queue_length("abc") == later(stock.queue_length)("abc").get() == 3
        with pytest.raises(OutOfStock) as raised:
            stock.reserve("bolt", 11)
        assert (raised.value.item, raised.value.left) == ("bolt", 10)
        for item, count, name in [("bolt", 0, "ValueError"), ("odd", 1, "Odd"), ("odd", 2, "Odd")]:
            with pytest.raises(RemoteError) as failed:
                stock.reserve(item, count)
            assert failed.value.name == name
            assert failed.value.text
        with pytest.raises(RemoteError, match="ended with Changed: 1") as failed:
            stock.reserve("changed")
        assert isinstance(failed.value.__cause__, TypeError)


@pytest.mark.parametrize(
    ("args", "kwds", "path"),
    [
        ((5,), {}, "item"),
        ((), {}, "item"),
        (("a", 1, 2), {}, "parameters"),
        (("a",), {"cuont": 1}, "'cuont'"),
        (("a",), {"item": "b"}, "item"),
    ],
)
def test_wrong_arguments_are_not_sent(endpoint, args, kwds, path):
    stock: Any = client(placed(Stock, endpoint))  # nobody serves it
    for call in (stock.reserve, later(stock.reserve)):
        with pytest.raises(BadParameters) as raised:
            call(*args, **kwds)
        assert raised.value.path == path
    with pytest.raises(BadParameters):
        stock.restock("bolt")


def test_bad_parameters_of_a_server_are_raised(endpoint):
    class Newer(Stock):
        @rpc
        def reserve(self, item: str, count: str = "1") -> Reservation:  # type: ignore[override]
            raise AssertionError

    stock = client(placed(Stock, endpoint))
    server = placed(Newer, endpoint)({"name": "stock"})
    with running(server), pytest.raises(BadParameters) as raised:
        stock.reserve("bolt", 3)
    assert (raised.value.path, raised.value.reason) == ("count", "Expected `str`, got `int`")


def test_options_hold_in_their_block_and_greenlet(endpoint):
    interface = placed(Stock, endpoint)
    stock, other = client(interface), client(interface)
    server = interface({"name": "stock"})
    with running(server):
        with options(stock, headers={"x-tenant": "a"}, timeout=5):
            assert (stock.tenant(), other.tenant()) == ("a", None)
            assert gevent.spawn(stock.tenant).get() is None
            assert later(stock.tenant)().get() == "a"
            with options(stock, headers={"x-tenant": "b"}):
                assert stock.tenant() == "b"
            stock.restock("bolt", 1)
        assert stock.tenant() is None
        with options(stock, timeout=0.1, max_retry=0), pytest.raises(TimeoutError):
            stock.slow(2.0)
        wait_until(lambda: server.seen == [("bolt", 1, "a")], SOON)


def test_a_service_that_is_not_there_is_no_route(endpoint):
    stock = client(placed(Stock, endpoint))
    stock._producer.max_retry = 0
    with options(stock, timeout=0.5), pytest.raises(NoRoute):
        stock.reserve("bolt")


def test_calls_in_the_background_are_gathered(endpoint):
    interface = placed(Stock, endpoint)
    stock = client(interface)
    with running(interface({"name": "stock"})):
        calls = [later(stock.reserve)("bolt", count) for count in range(1, 12)]
        gevent.wait([each.greenlet for each in calls], timeout=SOON)
        assert all(each.ready() for each in calls)
        assert [each.get().count for each in calls[:10]] == list(range(1, 11))
        with pytest.raises(OutOfStock):
            calls[10].get()


def test_calls_of_a_handler_are_not_those_of_its_caller(endpoint):
    class Middle(Service):
        exchange, queue = endpoint.exchange, endpoint.sub("middle")

        @rpc
        def pass_on(self, item: str, how: str) -> None:
            if how == "own":
                raise BadParameters("item", "must be even")
            if how == "builtin":
                raise OSError(110, "timed out")
            if how == "route":
                raise NoRoute("shop", "elsewhere")
            behind: Any = stock
            behind.reserve(5)

        @command
        def pass_later(self, item: str) -> None:
            behind: Any = stock
            behind.reserve(5)

    stock = client(placed(Stock, endpoint))
    middle, server = client(Middle), Middle({"name": "middle"})
    with running(server):
        for how, text in {
            "builtin": "TimeoutError",
            "route": "NoRoute",
            "call": "in the call",
        }.items():
            with pytest.raises(RemoteError, match=text) as raised:
                middle.pass_on("bolt", how)
            assert raised.value.name == "RemoteError"
        with pytest.raises(BadParameters, match="item: must be even"):
            middle.pass_on("bolt", "own")
        middle.pass_later("bolt")
        wait_until(lambda: server.counts["parked"] == 1, SOON)


def test_events_are_published_by_their_type(endpoint):
    interface = placed(Stock, endpoint)
    server, shop = interface({"name": "stock"}), events(endpoint.exchange)
    with running(server):
        shop.publish(Ordered("bolt"))
        shop.publish({"item": "nut"}, name="Ordered")
        wait_until(lambda: len(server.seen) == 2, SOON)
    assert sorted(each.item for each in server.seen) == ["bolt", "nut"]
    for odd in ({"item": "nut"}, 5, [1]):
        with pytest.raises(SettingsError):
            shop.publish(odd)


def test_a_classic_processor_is_called_by_an_interface(endpoint):
    shelf = client(placed(Shelf, endpoint))
    eqk = [(endpoint.exchange, [(endpoint.queue, endpoint.queue)])]
    server = Classic({"name": "classic"}, eqk)
    with running(server):
        assert shelf.double(21) == 42
        with pytest.raises(RemoteError, match="missing required field `count`") as wrong:
            shelf.wrong()
        assert wrong.value.name == "BadReply"
        with pytest.raises(RemoteError) as raised:
            shelf.error()
        assert (raised.value.kind, raised.value.text) == ("error", "no")
        shelf.note("hello")
        wait_until(lambda: server.seen == [{"text": "hello"}], SOON)


def test_a_client_has_only_calls_and_commands(endpoint):
    stock: Any = client(placed(Stock, endpoint))
    assert {"reserve", "total_of", "restock"} <= set(dir(stock))
    for name in ("on_ordered", "start", "rserve"):
        with pytest.raises(AttributeError, match="has no call or command"):
            getattr(stock, name)


def test_odd_arguments_of_the_tools_are_refused(endpoint):
    class Nowhere(Service):
        @rpc
        def call(self) -> None: ...

    stock = client(placed(Stock, endpoint))
    with pytest.raises(SettingsError, match="Nowhere has no exchange and queue"):
        client(Nowhere)
    with pytest.raises(SettingsError, match=r"later\(\) takes a call of a client"):
        later(stock.restock)
    with pytest.raises(SettingsError, match=r"options\(\) takes a client"), options(Stock):  # type: ignore[arg-type]
        pass


def test_a_client_can_be_copied(endpoint):
    interface = placed(Stock, endpoint)
    copied = copy.copy(client(interface))
    with running(interface({"name": "stock"})):
        assert copied.total_of([1, 2]) == 3.0
