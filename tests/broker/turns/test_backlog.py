"""The backlog: steps are taken in order, so many in a turn of the hub."""

from __future__ import annotations

from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postage.broker.core.backlog import AT_ONCE, MOST_EFFORT, Backlog
from tests.broker.turns.clock import MANY, Turns


def test_a_few_items_are_handled_at_once(timers: Turns) -> None:
    handled: list[int] = []
    Backlog(timers).each(range(100), handled.extend, "numbers")
    assert handled == list(range(100))
    assert not timers.due


def test_many_items_are_handled_in_turns(timers: Turns) -> None:
    parts: list[list[int]] = []
    Backlog(timers).each(range(MANY), parts.append, "numbers")
    assert len(parts) == 1
    assert timers.turn()
    assert len(parts) == 2
    assert timers.all()
    assert [number for part in parts for number in part] == list(range(MANY))
    assert max(map(len, parts)) <= AT_ONCE


def test_what_is_nested_shares_the_effort(timers: Turns) -> None:
    backlog, handled = Backlog(timers), []

    def handle(outer: list[int]) -> None:
        for _ in outer:
            backlog.each(range(1000), handled.extend, "inner")

    backlog.each(range(500), handle, "outer")
    most = len(handled)
    assert most <= AT_ONCE
    while timers.turn():
        assert len(handled) - most <= AT_ONCE
        most = len(handled)
    assert len(handled) == 500 * 1000


def test_a_bug_loses_one_part_only(timers: Turns, caplog: pytest.LogCaptureFixture) -> None:
    backlog, handled = Backlog(timers), []

    def handle(part: list[int]) -> None:
        if AT_ONCE in part:
            raise ZeroDivisionError
        handled.extend(part)

    backlog.each(range(MANY), handle, "numbers")
    backlog.add(lambda: handled.append(-1) or 1, "another thing")
    timers.all()
    assert handled == [*range(AT_ONCE), -1, *range(2 * AT_ONCE, MANY)]
    assert "lost numbers" in caplog.text


def test_a_bug_in_the_first_part_reaches_the_caller(timers: Turns) -> None:
    backlog, handled = Backlog(timers), []

    def handle(part: list[int]) -> None:
        if 0 in part:
            raise ZeroDivisionError
        handled.extend(part)

    with pytest.raises(ZeroDivisionError):
        backlog.each(range(MANY), handle, "numbers")
    timers.all()
    assert handled == list(range(AT_ONCE, MANY)), "the rest is not lost"


def test_what_is_added_in_a_block_waits_for_its_end(timers: Turns) -> None:
    backlog, done = Backlog(timers), list[str]()
    with backlog:
        backlog.add(lambda: done.append("added") or 1, "a step")
        done.append("block")
    assert done == ["block", "added"]


@given(st.lists(st.integers(0, 2 * MOST_EFFORT), max_size=30), st.sets(st.integers(0, 29)))
def test_steps_are_taken_in_order_and_in_turns(efforts: list[int], parents: set[int]) -> None:
    timers, turns = Turns(), list[list[int]]()
    backlog = Backlog(timers)

    def step(number: int, effort: int) -> int:
        turns[-1].append(number)
        if number in parents:
            backlog.add(partial(step, 100 + number, effort), "a step of a step")
        return effort

    turns.append([])
    with backlog:
        for number, effort in enumerate(efforts):
            backlog.add(partial(step, number, effort), "a step")
    while timers.due:
        turns.append([])
        timers.turn()
    taken = [number for turn in turns for number in turn]
    known = range(len(efforts))
    assert taken == [*known, *(100 + number for number in known if number in parents)]
    for turn in turns:
        assert sum(efforts[number % 100] for number in turn[:-1]) < MOST_EFFORT
    assert not len(backlog)
