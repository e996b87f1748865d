"""Counts of the deliveries from quorum queues, and their delivery limits."""

from __future__ import annotations

from typing import Any

import pytest

from postage.broker.core.clock import ManualTimers
from postage.broker.core.likeness import LIKENESSES, likeness_of
from postage.broker.session.node import Node
from postage.broker.wire.content import decode_properties
from tests.broker.quorum_consumer import MANY, QUORUM, Consumer
from tests.support.core import message, new_queue

FAILURES = ("reject", "channel", "connection")
RETURNS = ("nack", "recover")


@pytest.mark.parametrize("how", FAILURES)
@pytest.mark.parametrize(("arguments", "limit"), [({}, 20), ({"x-delivery-limit": 3}, 3)])
def test_failures_count(how: str, arguments: dict[str, Any], limit: int) -> None:
    expected = [(None, None), *((n, n) for n in range(1, limit + 1))]
    assert Consumer("4.3", **arguments).deliveries(how) == expected


@pytest.mark.parametrize("how", RETURNS)
@pytest.mark.parametrize("limit", [{}, {"x-delivery-limit": 3}, {"x-delivery-limit": -1}])
def test_other_returns_do_not_count(how: str, limit: dict[str, Any]) -> None:
    expected = [(None, None), *((None, n) for n in range(1, MANY))]
    assert Consumer("4.3", **limit).deliveries(how) == expected


@pytest.mark.parametrize("how", [*FAILURES, *RETURNS])
@pytest.mark.parametrize(
    ("limit", "delivered"), [({}, MANY), *(({"x-delivery-limit": n}, n + 1) for n in (0, 3))]
)
def test_every_return_counts_in_3_10(how: str, limit: dict[str, Any], delivered: int) -> None:
    expected = [(n, None) for n in range(delivered)]
    assert Consumer("3.10", **limit).deliveries(how) == expected


@pytest.mark.parametrize(
    ("like", "limit", "delivered"),
    [
        ("4.3", -1, MANY),
        ("4.3", -2, MANY),
        ("4.3", 0, 1),
        ("4.3", "a", 21),
        ("3.10", -1, 1),
        ("3.10", -2, 1),
        ("3.10", "a", MANY),
    ],
)
def test_odd_limits(like: str, limit: Any, delivered: int) -> None:
    found = Consumer(like, **{"x-delivery-limit": limit}).deliveries("reject")
    assert len(found) == delivered


def test_some_returns_count_and_some_do_not() -> None:
    consumer = Consumer("4.3")
    found = []
    for how in ("nack", "reject", "recover", "channel"):
        found.append(consumer.counts())
        consumer.give_back(how)
    assert [*found, consumer.counts()] == [(None, None), (None, 1), (1, 2), (1, 3), (2, 4)]


@pytest.mark.parametrize("like", LIKENESSES)
@pytest.mark.parametrize("target", [None, "dead"])
def test_beyond_the_limit(like: str, target: str | None) -> None:
    to = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": target} if target else {}
    consumer = Consumer(like, **to, **{"x-delivery-limit": 1})
    dead = new_queue(consumer.node.vhosts["/"], "dead")
    assert len(consumer.deliveries("reject")) == 2
    assert len(dead) == (1 if target else 0)
    if target:
        entry = dead.get()
        assert entry is not None
        assert entry.message.headers["x-death"][0]["reason"] == "delivery_limit"
        assert "x-delivery-count" not in entry.message.headers


@pytest.mark.parametrize("like", LIKENESSES)
def test_counts_of_a_client_are_replaced(like: str) -> None:
    node = Node(ManualTimers(), likeness=likeness_of(like))
    queue = new_queue(node.vhosts["/"], "q", QUORUM)
    queue.publish(message(headers={"x-delivery-count": 7, "x-acquired-count": 9}))
    for expected in {"4.3": [(7, 9), (1, 1)], "3.10": [(0, 9), (1, 9)]}[like]:
        entry = queue.get()
        assert entry is not None
        headers = decode_properties(queue.header_of(entry, is_got=True))["headers"]
        assert (headers["x-delivery-count"], headers["x-acquired-count"]) == expected
        queue.requeue(entry)


@pytest.mark.parametrize(("like", "headers"), [("4.3", [None, None]), ("3.10", [0, None])])
def test_only_a_get_shows_a_count_of_zero(like: str, headers: list[int | None]) -> None:
    queue = Consumer(like).queue
    entry = queue.get()
    assert entry is not None
    found = [
        decode_properties(queue.header_of(entry, is_got=is_got)).get("headers") or {}
        for is_got in (True, False)
    ]
    assert [each.get("x-delivery-count") for each in found] == headers
