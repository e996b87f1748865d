"""The report of a run, and its violations of the limits."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from tests.faults.journal import Journal, State
from tests.faults.report import Limits, check, report, violations


def confirmed_only(count: int) -> dict[str, Any]:
    """Return a field of a journal with *count* messages that were never handled."""
    return {"open_messages": {(0, number): State.CONFIRMED for number in range(count)}}


GOOD = Journal(
    title="nothing",
    duration=3.0,
    sent=110,
    confirmed=100,
    refused=10,
    handled=103,
    duplicates=4,
    calls=Counter({"answered": 50, "TimeoutError": 2}),
    longest_wait=4.0,
    overdue=0.1,
    unfinished=0,
    recovery=1.5,
    failures_after=0,
    lateness=0.02,
    sockets=2,
    greenlets=(),
    memory_before=100_000_000,
    memory_after=105_000_000,
)
#: A change of the good report, and the words of the violation.
BAD = [
    (confirmed_only(1), "1 confirmed messages are lost"),
    ({"overdue": 0.6}, "0.60 s beyond"),
    ({"unfinished": 2}, "2 greenlets wait for ever"),
    ({"recovery": 5.1}, "recovery after 5.10 s"),
    ({"recovery": math.inf}, "recovery after inf s"),
    ({"failures_after": 3}, "3 failures after recovery"),
    ({"sockets": 3}, "3 sockets"),
    ({"sockets": 1}, "1 sockets"),
    ({"greenlets": ("<Greenlet a>",)}, "<Greenlet a>"),
    ({"memory_after": 111_000_000}, "memory grew by 11.0%"),
    ({"calls": Counter({"answered": 9, "wrong answer": 1})}, "1 calls: wrong answer"),
    ({"unexpected": Counter(["ValueError: x"])}, "ValueError: x"),
    ({"handled": 0}, "nothing was handled"),
    ({"calls": Counter()}, "no call answered"),
]


def test_a_good_report_has_no_violations() -> None:
    check(GOOD)


@pytest.mark.parametrize(("changed", "words"), BAD, ids=lambda part: str(part)[:30])
def test_each_violation_is_found_and_nothing_else(changed: dict[str, Any], words: str) -> None:
    found = violations(replace(GOOD, **changed), Limits())
    assert len(found) == 1
    assert words in found[0]


def test_all_violations_are_raised_at_once_with_the_report() -> None:
    with pytest.raises(AssertionError) as raised:
        check(replace(GOOD, sockets=4, **confirmed_only(7)))
    text = str(raised.value)
    assert "7 confirmed messages are lost" in text
    assert "4 sockets" in text
    assert report(replace(GOOD, sockets=4, **confirmed_only(7))) in text


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        (Limits(duplicates=3), "4 duplicates"),
        (Limits(refused=0), "10 publishes failed"),
        (Limits(outcomes=frozenset({"answered"})), "2 calls: TimeoutError"),
    ],
)
def test_limits_can_be_narrower(limits: Limits, words: str) -> None:
    assert violations(GOOD, limits) == [words]


def test_limits_can_be_wider() -> None:
    journal = replace(GOOD, recovery=20.0, **confirmed_only(5))
    assert violations(journal, Limits(recovery=30.0, lost=5)) == []


def test_the_report_shows_every_figure() -> None:
    text = report(replace(GOOD, unexpected=Counter(["KeyError: 'x'"])))
    words = [" ".join(line.split()) for line in text.splitlines()]
    for figure in ("sent 110", "confirmed 100", "refused 10", "handled 103", "twice 4", "lost 0"):
        assert figure in words
    for figure in ("calls 50 answered", "calls 2 TimeoutError", "failed 2", "wait s 4.00"):
        assert figure in words
    for figure in ("over s +0.10", "recovery 1.50", "sockets 2", "MB 105.0", "growth +5.0%"):
        assert figure in words
    assert "KeyError: 'x' (1 times)" in words
