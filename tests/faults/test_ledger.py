"""The ledger: each order in which the news of a message may come, and what comes to light."""

from __future__ import annotations

import itertools

import pytest

from tests.faults.ledger import KEPT, Ledger
from tests.support.clock import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock(0.0)


@pytest.fixture
def ledger(clock: Clock) -> Ledger:
    return Ledger(clock)


def test_a_message_that_is_confirmed_and_not_handled_is_missing(ledger: Ledger) -> None:
    for _ in range(3):
        ledger.confirm(7, ledger.sending(7))
    ledger.handle(7, 1, "a")
    assert ledger.missing() == [(7, 0), (7, 2)]
    assert (ledger.sent, ledger.confirmed, ledger.handled, ledger.unhandled) == (3, 3, 1, 2)


@pytest.mark.parametrize("order", [*itertools.permutations(["end", "handle", "again"])])
@pytest.mark.parametrize("end", ["confirm", "refuse"])
def test_news_may_come_in_any_order(ledger: Ledger, order: tuple[str, ...], end: str) -> None:
    number = ledger.sending(1)
    for news in order:
        if news == "end":
            getattr(ledger, end)(1, number)
        else:
            ledger.handle(1, number, "a")
    assert (ledger.handled, ledger.duplicates, ledger.unhandled) == (1, 1, 0)
    assert ledger.missing() == []
    assert len(ledger._open) == 0


def test_a_message_that_was_refused_is_not_missing(ledger: Ledger) -> None:
    ledger.refuse(1, ledger.sending(1))
    assert ledger.missing() == []
    assert ledger.refused == 1


def test_what_went_with_its_queue_is_not_lost(ledger: Ledger) -> None:
    for _ in range(3):
        ledger.confirm(1, ledger.sending(1))
    ledger.doomed = 2
    assert (ledger.unhandled, ledger.lost) == (3, 1)


def test_it_forgets_what_is_done_with(ledger: Ledger) -> None:
    for _ in range(1000):
        number = ledger.sending(1)
        ledger.confirm(1, number)
        ledger.handle(1, number, "a")
    assert not ledger._open
    ledger.handle(1, 500, "a")
    assert ledger.duplicates == 1


def test_messages_of_another_process_are_announced(ledger: Ledger) -> None:
    ledger.announce(9, 100)
    ledger.handle(9, 42, "a")
    ledger.confirm(9, 42)
    ledger.confirm(9, 43)
    assert (ledger.handled, ledger.duplicates, ledger.missing()) == (1, 0, [(9, 43)])


def test_the_longest_wait_and_the_one_longest_beyond_its_limit(ledger: Ledger, clock) -> None:
    clock.now = 10.0
    ledger.wait("a", 0.0, 12.0, well=True)
    ledger.wait("b", 7.0, 2.0, well=False)
    assert ledger.longest == 10.0
    assert ledger.overdue == 1.0
    assert ledger.good == {"a": 1}
    assert (ledger.failures_since(6.0), ledger.failures_since(7.0)) == (1, 0)


def test_the_laggard_is_who_handled_something_the_longest_ago(ledger: Ledger, clock) -> None:
    clock.now = 1.0
    ledger.serve("a")
    clock.now = 2.0
    ledger.handle(1, ledger.sending(1), "b")
    assert ledger.latest(["a", "b"]) == 1.0
    assert ledger.latest(["a", "b", "c"]) == float("-inf")


def test_surprises_are_counted_and_not_too_many(ledger: Ledger) -> None:
    for number in range(KEPT + 5):
        ledger.surprise(f"error {number}")
        ledger.surprise("error 0")
    assert len(ledger.surprises) == KEPT
    assert ledger.surprises["error 0"] == KEPT + 6
