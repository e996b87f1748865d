"""An editor completes the calls of a client, and shows their signatures."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.typing.language_server import LanguageServer, pyright
from tests.typing.tools import demand

pytestmark = [pytest.mark.slow, pytest.mark.limit(300)]


@pytest.fixture(scope="module")
def server() -> Iterator[LanguageServer]:
    demand("basedpyright")
    with pyright() as running:
        yield running


def test_the_calls_of_a_service_are_completed(server):
    assert {"reserve", "left", "restock"} < set(server.completions("stock."))


def test_an_interface_is_completed_by_its_calls_alone(server):
    assert server.completions("shelves.") == ["reserve", "restock"]


@pytest.mark.parametrize(
    "call",
    ["stock.reserve('bolt').", "later(stock.reserve)('bolt').get().", "shelves.reserve('')."],
)
def test_what_a_call_returns_is_completed(server, call):
    assert server.completions(call) == ["item", "count", "price"]


SIGNATURES = {
    "stock.reserve(": "(item: str, count: Count = 1) -> Reservation",
    "stock.reserve('bolt', ": "(item: str, count: Count = 1) -> Reservation",
    "shelves.restock(": "(item: str, count: int) -> None",
    "orders.place(": "(basket: Basket) -> Ordered",
    "later(stock.reserve)(": "(item: str, count: Count = 1) -> Later[Reservation]",
    "trail_there(": "(order: str) -> list[str]",
}


@pytest.mark.parametrize("call", SIGNATURES)
def test_the_signature_of_a_call_is_shown(server, call):
    assert server.signature(call) == SIGNATURES[call]
