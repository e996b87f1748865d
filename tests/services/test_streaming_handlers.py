"""Handlers that stream: which functions may, and what classes and tests know of them."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Any

import pytest

from postage import Application, HandlerError, Service, SettingsError, command, rpc
from postage.message import RpcCommand
from postage.testing import handle
from tests.services.shop import placed
from tests.services.streaming_stock import Line, Stock
from tests.support.running import running


@pytest.mark.parametrize("function", ["lines", "failing"])
def test_a_streaming_handler_is_tested_without_a_broker(endpoint, function):
    interface = placed(Stock, endpoint)
    if function == "lines":
        handled = handle(interface, RpcCommand("lines", {"count": 2}))
        assert handled.result is not None
        assert handled.result.value == [
            {"number": 0, "text": "line 0"},
            {"number": 1, "text": "line 1"},
        ]
        with pytest.raises(HandlerError, match="yields more than 1000 parts"):
            handle(interface, RpcCommand("lines", {"count": 2000}))
        return
    handled = handle(interface, RpcCommand("all", {"after": 2, "how": "declared"}))
    assert handled.result is not None
    assert handled.result.value == "OutOfStock"
    with pytest.raises(LookupError):
        handle(interface, RpcCommand("all", {"after": 2, "how": "other"}))


def yields(self) -> Iterator[int]:
    yield 1


def yields_a_list(self) -> list[int]:
    yield [1]  # type: ignore[misc]


def no_part(self) -> Iterator: ...  # type: ignore[type-arg,empty-body]
def takes_values(self) -> Generator[int, str, None]: ...  # type: ignore[empty-body]
def returns_more(self) -> Generator[int, None, str]: ...  # type: ignore[empty-body]
def odd_part(self) -> Iterator[object]: ...  # type: ignore[empty-body]


async def async_parts(self) -> Any:
    yield 1


@pytest.mark.parametrize(
    ("decorate", "told"),
    [
        (lambda: command(yields), "is a generator"),
        (lambda: command(rpc(no_part)), "needs the type of its parts"),
        (lambda: rpc(yields_a_list), "write -> Iterator[Part]"),
        (lambda: rpc(no_part), "needs the type of its parts"),
        (lambda: rpc(takes_values), "needs the type of its parts"),
        (lambda: rpc(returns_more), "needs the type of its parts"),
        (lambda: rpc(odd_part), "the hint of its parts has object"),
        (lambda: rpc(async_parts), "is async"),
    ],
)
def test_what_can_be_no_stream_is_refused(decorate, told):
    with pytest.raises(SettingsError) as raised:
        type("Stock", (Service,), {"handler": decorate()})
    assert told in str(raised.value)


def test_a_plain_function_may_stream(endpoint):
    place = {"exchange": endpoint.exchange, "queue": endpoint.queue}
    shop = Application("shop", stream_timeout=5, **place)

    @shop.rpc
    def numbers(count: int) -> Iterator[int]:
        yield from range(count)

    @shop.rpc
    def nothing(count: int) -> Iterator[None]:
        yield from [None] * count

    with running(shop()):
        assert list(shop.client(numbers)(3)) == [0, 1, 2]
        assert list(shop.client(nothing)(3)) == [None] * 3


def test_the_signature_says_that_a_handler_streams():
    known = Stock.signatures
    assert (known["lines"].streams, known["lines"].returns) == (True, Line)
    assert (known["failing"].streams, known["failing"].returns) == (True, int)
    assert not known["one"].streams


@pytest.mark.parametrize("value", [0, -1, "5", None])
def test_a_stream_timeout_is_a_number_of_seconds(endpoint, value):
    with pytest.raises(SettingsError, match="stream_timeout"):
        placed(Stock, endpoint, stream_timeout=value)
    service = placed(Stock, endpoint)({"name": "stock"})
    with pytest.raises(SettingsError, match="stream_timeout"):
        service.stream_timeout = value
