"""The roster: who is there, how busy, and who has gone."""

from __future__ import annotations

from typing import Any

import pytest

from postage.cli.fleet.descriptions import Description
from postage.cli.fleet.roster import KEPT, Roster
from tests.support.clock import Clock


def busy(name: str, count: int, uptime: float) -> Description:
    fingerprint = {"name": name, "pid": "1", "host": "h"}
    statistics = {"handled": count, "failed": 0}
    return {"fingerprint": fingerprint, "key": name, "statistics": statistics, "uptime": uptime}


def names(entries: Any) -> list[str]:
    return [entry.description["fingerprint"]["name"] for entry in entries]


@pytest.fixture
def roster(clock: Clock) -> Roster:
    return Roster(clock)


def test_the_busiest_come_first_and_equals_by_name(roster: Roster):
    roster.note([busy(name, 0, 1.0) for name in "abcd"])
    roster.note([busy(name, count, 3.0) for name, count in zip("abcd", (2, 0, 8, 2), strict=True)])

    assert names(roster.present) == ["c", "a", "d", "b"]
    assert [each.rate for each in roster.present] == [4.0, 1.0, 1.0, 0.0]


def test_who_does_not_answer_has_gone_and_is_forgotten_after_a_while(roster: Roster, clock: Clock):
    roster.note([busy("a", 0, 1.0), busy("b", 0, 1.0)])
    roster.note([busy("a", 9, 2.0), busy("b", 9, 2.0)])
    clock.now += 2.0
    for _ in range(3):
        roster.note([busy("b", 18, 3.0)])
        assert (names(roster.present), names(roster.gone)) == (["b"], ["a"])
        assert roster.gone[0].rate == 0.0
        clock.now += KEPT / 3 + 0.1

    roster.note([])
    assert (names(roster.present), names(roster.gone)) == ([], ["b"])


def test_who_comes_back_is_there_again(roster: Roster):
    roster.note([busy("a", 0, 1.0)])
    roster.note([])
    roster.note([busy("a", 30, 11.0)])

    assert names(roster.present) == ["a"]
    assert roster.present[0].rate == 3.0
    assert not roster.gone


def test_who_comes_and_goes_leaves_nothing(roster: Roster, clock: Clock):
    for number in range(1000):
        roster.note([busy(str(number), 0, 1.0)])
        clock.now += 1.0

    assert len(roster.present) == 1
    assert len(roster.gone) <= KEPT
