"""What is counted for each handler: exact counts, a bounded histogram, bounded names."""

from __future__ import annotations

import math
from itertools import pairwise
from types import SimpleNamespace

import pytest

from postage import handler_statistics
from postage.green.amqp.properties import Properties
from postage.handler_statistics import (
    BOUNDS,
    EXACT,
    LONGEST_ERROR,
    LONGEST_NAME,
    MOST_FLOWS,
    HandlerTallies,
    HandlerTally,
    flow_of,
    quantile,
)
from postage.recoverability import History


def body(name: object = "caller") -> dict[str, object]:
    return {"fingerprint": {"name": name}}


class Arrival:
    """How a message came."""

    def __init__(self, exchange: str, **headers: object) -> None:
        self.exchange, self.routing_key = exchange, "key"
        self.properties = Properties(headers=headers)


PUBLISHED = Arrival("x")
RETURNED = Arrival("", **History(attempts=1).headers())


def test_a_run_is_in_flight_until_it_ends() -> None:
    tally = HandlerTally()

    tally.begin(body(), PUBLISHED)
    tally.begin(body(), PUBLISHED)
    tally.took(0.001)
    during = tally.statistics("handler")
    tally.took(0.001)
    after = tally.statistics("handler")

    assert (during.received, during.in_flight, sum(during.buckets)) == (2, 1, 1)
    assert (after.received, after.in_flight, sum(after.buckets)) == (2, 0, 2)


def test_tries_at_once_are_no_further_messages() -> None:
    tally = HandlerTally()

    for _ in range(3):
        tally.begin(body(), PUBLISHED)
        tally.took(0.001)
    tally.retried = 2

    assert tally.statistics("handler").received == 1


def test_many_runs_are_counted_exactly() -> None:
    tally = HandlerTally()

    for _ in range(1000):
        tally.begin(body(), PUBLISHED)
        tally.took(0.001)
    found = tally.statistics("handler")

    assert found.received == sum(found.buckets) == 1000
    assert 900 < found.senders["caller"] <= 1000
    assert found.mean is not None
    assert math.isclose(found.mean, found.seconds / 1000)


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody watches, until the end of the test."""
    monkeypatch.setattr(handler_statistics, "_watched_until", math.inf)


@pytest.mark.usefixtures("watched")
def test_only_so_many_senders_are_counted_by_name() -> None:
    tally = HandlerTally()

    for number in range(MOST_FLOWS + 5):
        tally.begin(body(f"sender {number}"), PUBLISHED)
        tally.took(0.001)
        tally.begin(body("sender 0"), PUBLISHED)
        tally.took(0.001)
    found = tally.statistics("handler")

    assert len(found.senders) == MOST_FLOWS
    assert found.senders["sender 0"] == MOST_FLOWS + 5 + 1
    assert found.other_senders == 5


def test_senders_that_take_turns_are_counted_alike() -> None:
    tally = HandlerTally()

    for number in range(20_000):
        tally.begin(body("even" if number % 2 else "odd"), PUBLISHED)
        tally.took(0.001)
    found = tally.statistics("handler").senders

    assert 7_500 < found["even"] < 12_500
    assert sum(found.values()) > 19_900


@pytest.mark.parametrize("name", ["x" * (LONGEST_NAME + 1), "", None, 5, ["list"], {}])
def test_a_name_that_is_none_is_counted_among_others(name: object) -> None:
    tally = HandlerTally()

    tally.begin(body(name), PUBLISHED)
    tally.took(0.001)
    found = tally.statistics("handler")

    assert (found.senders, found.other_senders) == ({}, 1)


def test_flows_are_counted_exactly_while_somebody_watches(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tally = HandlerTally()
    for _ in range(1000):
        tally.begin(body("before"), PUBLISHED)
        tally.took(0.001)

    monkeypatch.setattr(handler_statistics, "_watched_until", math.inf)
    tally.watch()
    for number in range(1000):
        tally.begin(body("even" if number % 2 else "odd"), PUBLISHED)
        tally.took(0.001)
    found = tally.statistics("handler")

    assert found.senders == {"before": 1000, "even": 500, "odd": 500}


def test_a_flow_tells_when_its_last_message_came(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(handler_statistics, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(handler_statistics, "_watched_until", 0.0)
    tally = HandlerTally()

    def idle_after(messages: int) -> float | None:
        for _ in range(messages):
            now[0] += 1
            tally.begin(body(), PUBLISHED)
            tally.took(0.001)
        now[0] += 0.25
        (flow,) = tally.statistics("handler").flows
        return flow.idle

    assert idle_after(EXACT - 1) == 0.25
    assert idle_after(500) is None, "only some of them were looked at"
    monkeypatch.setattr(handler_statistics, "_watched_until", math.inf)
    tally.watch()
    assert idle_after(0) is None, "the last one may have come at any time"
    assert idle_after(1) == 0.25


@pytest.mark.usefixtures("watched")
def test_flows_tell_exchanges_and_failures_apart() -> None:
    tally = HandlerTally()

    for arrived in (Arrival("x"), Arrival("y"), None, Arrival("y"), RETURNED):
        tally.begin(body() | {"category": "rpc"}, arrived)
        tally.took(0.001)
    tally.count_failed(flow_of(body() | {"category": "rpc"}, "y"))
    found = tally.statistics("handler")

    assert [each[:5] for each in found.flows] == [
        ("caller", "x", "rpc", 1, 0),
        ("caller", "y", "rpc", 2, 1),
    ]
    assert found.failed == 1


@pytest.mark.parametrize(
    ("fingerprint", "sender"),
    [
        ({"name": "None", "pid": "7", "host": "there"}, "7@there"),
        ({"pid": "7", "host": "there"}, "7@there"),
        ({"name": "None"}, None),
        ({"name": "None", "pid": 7, "host": []}, None),
    ],
)
def test_a_sender_without_a_name_is_its_process(fingerprint: object, sender: object) -> None:
    flow = flow_of({"fingerprint": fingerprint, "category": "rpc"}, "x")

    assert (flow and flow.sender) == sender


@pytest.mark.parametrize("message", [{}, {"fingerprint": {}}, {"fingerprint": None}])
def test_a_message_without_a_fingerprint_is_counted(message: dict[str, object]) -> None:
    tally = HandlerTally()

    tally.begin(message, PUBLISHED)
    tally.took(0.001)

    assert tally.statistics("handler").other_senders == 1


def test_the_last_error_is_short_and_on_one_line() -> None:
    tally = HandlerTally()

    tally.note_error(ValueError("first"))
    tally.note_error(OSError("\x1b[2Jline\n" + "x" * 10_000))
    found = tally.statistics("handler")

    assert found.last_error.startswith(r"OSError: \x1b[2Jline\n")
    assert len(found.last_error) < LONGEST_ERROR + 50
    assert found.last_error.isprintable()
    assert found.last_error_at > 0


def test_tallies_are_made_at_the_first_run() -> None:
    tallies = HandlerTallies()

    tallies["take"].begin(body(), PUBLISHED)
    tallies["take"].took(0.001)

    assert [each.handler for each in tallies.statistics()] == ["take"]


def test_the_bounds_grow_by_the_same_steps() -> None:
    ratios = [above / below for below, above in pairwise(BOUNDS)]

    assert (BOUNDS[0], BOUNDS[-1]) == (1e-05, 700.0)
    assert all(1.3 < ratio < 1.7 for ratio in ratios)


@pytest.mark.parametrize("seconds", [0.00002, 0.004, 0.9, 45.0])
def test_a_quantile_is_right_by_a_third(seconds: float) -> None:
    buckets = [0] * (len(BOUNDS) + 1)
    place = next(i for i, bound in enumerate(BOUNDS) if bound >= seconds)
    buckets[place] = 1000

    for share in (0.01, 0.5, 0.99):
        found = quantile(buckets, share)
        assert found is not None
        assert 0.6 < found / seconds < 1.7


def test_quantiles_at_the_ends() -> None:
    empty = [0] * (len(BOUNDS) + 1)
    endless = [*empty[:-1], 5]

    assert quantile(empty, 0.5) is None
    assert quantile([], 0.5) is None
    assert quantile(endless, 0.5) == BOUNDS[-1]
