"""The answers of applications: which is which, how much each does, and malformed answers."""

from __future__ import annotations

import math
from typing import Any

import pytest

from postage.cli.fleet.descriptions import (
    COLUMNS,
    handled,
    identified,
    merged,
    number_at,
    rate,
    rated,
    row,
)

ONE, TWO = ({"name": name, "pid": "1", "host": "h"} for name in ("one", "two"))


def described(number: int = 0, **more: Any) -> dict[str, Any]:
    return {"fingerprint": ONE, "key": f"1.{number}@h", **more}


def busy(count: int, uptime: float, inquiries: int = 0, number: int = 0) -> dict[str, Any]:
    statistics = {"handled": count, "failed": 0}
    return described(number, statistics=statistics, inquiries=inquiries, uptime=uptime)


# --- identities


def test_answers_are_merged_by_their_number():
    known = described()

    assert merged([ONE, TWO, ONE], [known]) == [known, {"fingerprint": ONE}, {"fingerprint": TWO}]
    assert merged(["odd", None, {}], [7, {"fingerprint": 3}]) == []


def test_the_later_of_two_answers_of_one_application_counts():
    first, other, second = busy(1, 1), busy(5, 1, number=1), busy(2, 2)

    assert merged([ONE, ONE], [first, other, second]) == [second, other]


@pytest.mark.parametrize("is_first", [True, False], ids=["before", "afterwards"])
def test_a_station_counts_before_the_application_itself(is_first):
    """Its process gets a station while it is asked, or loses it."""
    of_itself, of_station = described(), described(instance="i")
    answers = [of_station, of_itself] if is_first else [of_itself, of_station]

    assert merged([ONE], [*answers, described(1)]) == [of_station, described(1)]


def test_applications_without_a_key_are_numbered():
    identities = [identity for identity, _ in identified([{"fingerprint": ONE}] * 2 + [busy(1, 1)])]

    assert len(set(identities)) == 3


# --- rates


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (busy(10, 100.0), busy(35, 102.5), 10.0),
        (busy(10, 100.0), busy(10, 101.0), 0.0),
        (busy(10, 100.0, 4), busy(16, 102.0, 6), 2.0),  # two of the six only asked
        (busy(10, 100.0), busy(10, 100.0), None),  # one answer
        (busy(10, 100.0), busy(3, 0.5), None),  # started anew
        (busy(10, 100.0), busy(3, 101.0), None),
        ({}, busy(3, 101.0), None),
        (described(), busy(3, 101.0), None),
        (busy(3, 101.0), {"fingerprint": ONE}, None),
    ],
)
def test_a_rate_uses_the_clock_of_the_application(before, after, expected):
    assert rate(before, after) == expected


def test_each_gets_its_own_rate():
    before = [busy(0, 1.0), busy(0, 1.0, number=1)]
    after = [busy(4, 2.0, number=1), busy(2, 2.0), busy(9, 9.0, number=2), {"fingerprint": TWO}]

    found = rated(dict(identified(before)), after)
    assert [each["rate"] for each in found.values()] == [4.0, 2.0, None, None]


# --- odd answers


@pytest.mark.parametrize(
    "value", [None, True, "7", [], {}, math.nan, math.inf, -math.inf, 10**400], ids=repr
)
def test_a_value_that_is_no_number_shows_as_none(value):
    counts = dict.fromkeys(("handled", "failed", "retried", "delayed", "parked"), value)
    odd = described(uptime=value, groups=value, statistics=counts | {"state": None})

    assert number_at(odd, "uptime") is None
    assert handled(odd) is None
    assert row(odd | {"rate": value}) == ("one", "1.0@h", *["-"] * 12)


@pytest.mark.parametrize("statistics", [None, 7, "text", [1]])
def test_statistics_may_be_anything(statistics):
    assert row(described(statistics=statistics))[3:9] == ("-",) * 6


def test_a_row_tells_what_became_of_failed_messages():
    statistics = {"handled": 9, "failed": 4, "retried": 3, "delayed": 2, "parked": 1}
    shown = described(statistics=statistics | {"state": "consuming"}, uptime=61)

    found = dict(zip(COLUMNS, map(str, row(shown)), strict=True))

    assert [found[name] for name in ("HANDLED", "FAILED", "RETRIED", "DELAYED", "PARKED")] == [
        *("9", "4", "3", "2", "1")
    ]
    assert (found["STATE"], found["UPTIME"]) == ("consuming", "0:01:01")
