"""The journal: a message may be confirmed and handled in any order."""

from __future__ import annotations

import itertools

import pytest

from tests.faults.journal import MAX_UNEXPECTED, Journal
from tests.support.clock import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock(0.0)


@pytest.fixture
def journal(clock: Clock) -> Journal:
    return Journal(clock=clock)


def test_a_message_that_is_confirmed_and_not_handled_is_missing(journal: Journal) -> None:
    for _ in range(3):
        journal.confirm(7, journal.send(7))
    journal.handle(7, 1, "a")
    assert journal.missing() == [(7, 0), (7, 2)]
    assert (journal.sent, journal.confirmed, journal.handled, journal.lost) == (3, 3, 1, 2)


@pytest.mark.parametrize("order", [*itertools.permutations(["end", "handle", "again"])])
@pytest.mark.parametrize("end", ["confirm", "refuse"])
def test_events_may_come_in_any_order(journal: Journal, order: tuple[str, ...], end: str) -> None:
    number = journal.send(1)
    for event in order:
        if event == "end":
            getattr(journal, end)(1, number)
        else:
            journal.handle(1, number, "a")
    assert (journal.handled, journal.duplicates, journal.lost) == (1, 1, 0)
    assert journal.missing() == []
    assert len(journal.open_messages) == 0


def test_a_message_that_was_refused_is_not_missing(journal: Journal) -> None:
    journal.refuse(1, journal.send(1))
    assert journal.missing() == []
    assert journal.refused == 1


def test_a_message_deleted_with_its_queue_is_not_lost(journal: Journal) -> None:
    for _ in range(3):
        journal.confirm(1, journal.send(1))
    journal.deleted = 2
    assert (len(journal.missing()), journal.lost) == (3, 1)


def test_ended_messages_are_removed(journal: Journal) -> None:
    for _ in range(1000):
        number = journal.send(1)
        journal.confirm(1, number)
        journal.handle(1, number, "a")
    assert not journal.open_messages
    journal.handle(1, 500, "a")
    assert journal.duplicates == 1


def test_messages_of_another_process_are_announced(journal: Journal) -> None:
    journal.announce(9, 100)
    journal.handle(9, 42, "a")
    journal.confirm(9, 42)
    journal.confirm(9, 43)
    assert (journal.handled, journal.duplicates, journal.missing()) == (1, 0, [(9, 43)])


def test_the_longest_wait_and_the_one_most_overdue(journal: Journal, clock) -> None:
    clock.now = 10.0
    journal.end_wait("a", 0.0, 12.0, success=True)
    journal.end_wait("b", 7.0, 2.0, success=False)
    assert journal.longest_wait == 10.0
    assert journal.overdue == 1.0
    assert (journal.successes, journal.latest) == ({"a": 1}, {"a": 0.0})
    assert (journal.failures_since(6.0), journal.failures_since(7.0)) == (1, 0)


def test_all_are_active_since_the_least_active_one(journal: Journal, clock) -> None:
    clock.now = 1.0
    journal.note_activity("a")
    clock.now = 2.0
    journal.handle(1, journal.send(1), "b")
    assert journal.all_active_since(["a", "b"]) == 1.0
    assert journal.all_active_since(["a", "b", "c"]) == float("-inf")


def test_unexpected_errors_are_counted_and_bounded(journal: Journal) -> None:
    for number in range(MAX_UNEXPECTED + 5):
        journal.add_unexpected(f"error {number}")
        journal.add_unexpected("error 0")
    assert len(journal.unexpected) == MAX_UNEXPECTED
    assert journal.unexpected["error 0"] == MAX_UNEXPECTED + 6
