"""The order of the rows of ``postage top``."""

from __future__ import annotations

from typing import Any

import pytest

from postage.cli.fleet.descriptions import COLUMNS, AppRow
from postage.cli.fleet.ordering import Order

ODD: list[Any] = [None, -1, 1e300, float("nan"), "7", [], {}, "\x1b[2J", True]


def app(name: object, **more: Any) -> AppRow:
    return AppRow({"fingerprint": {"name": name}, "key": f"key of {name}", **more})


def names(apps: list[AppRow]) -> list[Any]:
    return [each.description["fingerprint"]["name"] for each in apps]


def test_the_highest_number_is_first_and_unknown_ones_last() -> None:
    apps = [app("a", p99=0.1), app("b"), app("c", p99=2), app("d", p99=0.1), app("e", p99="x")]
    order = Order("P99")

    assert names(order.of(apps)) == ["c", "a", "d", "b", "e"]
    assert names(order.reversed().of(apps)) == ["a", "d", "c", "b", "e"]
    assert order.reversed().reversed() == order


def test_texts_are_sorted_from_a_to_z() -> None:
    apps = [app("b"), app("c"), app("a")]

    assert names(Order("NAME").of(apps)) == ["a", "b", "c"]
    assert names(Order("KEY", is_reversed=True).of(apps)) == ["c", "b", "a"]


def test_the_columns_are_a_circle() -> None:
    order = Order("NAME")
    assert order.beside(-1) == Order(COLUMNS[-1])
    assert order.beside(-1).beside(1) == order
    assert [order.beside(n).column for n in range(len(COLUMNS))] == list(COLUMNS)


@pytest.mark.parametrize("column", COLUMNS)
@pytest.mark.parametrize("is_reversed", [False, True])
def test_odd_answers_are_sorted_too(column: str, is_reversed: bool) -> None:
    apps = [
        app(odd, rate=odd, in_flight=odd, p99=odd, uptime=odd, groups=odd, inquiries=odd)
        for odd in ODD
    ]
    apps += [app(odd, statistics=odd) for odd in ODD]
    apps += [app(odd, statistics={"failed": odd, "handled": odd, "state": odd}) for odd in ODD]

    found = Order(column, is_reversed=is_reversed).of(apps)

    assert sorted(map(id, found)) == sorted(map(id, apps))
