"""The list of `postage top`: which applications answer, how busy, and which have gone."""

from __future__ import annotations

from typing import Any

import pytest

from postage.cli.fleet.descriptions import KEPT, AppList, Description
from postage.cli.fleet.ordering import Order
from tests.support.clock import Clock


def busy(name: str, count: int, uptime: float) -> Description:
    fingerprint = {"name": name, "pid": "1", "host": "h"}
    statistics = {"handled": count, "failed": 0}
    return {"fingerprint": fingerprint, "key": name, "statistics": statistics, "uptime": uptime}


def names(entries: Any) -> list[str]:
    return [entry.description["fingerprint"]["name"] for entry in entries]


@pytest.fixture
def apps(clock: Clock) -> AppList:
    return AppList(clock)


def test_they_are_sorted_by_name_and_have_rates(apps: AppList):
    apps.update([busy(name, 0, 1.0) for name in "abcd"])
    apps.update([busy(name, count, 3.0) for name, count in zip("abcd", (2, 0, 8, 2), strict=True)])

    assert names(apps.present) == ["a", "b", "c", "d"]
    assert [each.rate for each in apps.present] == [1.0, 0.0, 4.0, 1.0]
    assert names(Order().of(apps.present)) == ["c", "a", "d", "b"]


def test_an_app_that_stops_answering_shows_as_gone_for_a_while(apps: AppList, clock: Clock):
    apps.update([busy("a", 0, 1.0), busy("b", 0, 1.0)])
    apps.update([busy("a", 9, 2.0), busy("b", 9, 2.0)])
    clock.now += 2.0
    for _ in range(3):
        apps.update([busy("b", 18, 3.0)])
        assert (names(apps.present), names(apps.gone)) == (["b"], ["a"])
        assert apps.gone[0].rate == 0.0
        clock.now += KEPT / 3 + 0.1

    apps.update([])
    assert (names(apps.present), names(apps.gone)) == ([], ["b"])


def test_an_app_that_answers_again_is_present_again(apps: AppList):
    apps.update([busy("a", 0, 1.0)])
    apps.update([])
    apps.update([busy("a", 30, 11.0)])

    assert names(apps.present) == ["a"]
    assert apps.present[0].rate == 3.0
    assert not apps.gone


def test_a_thousand_short_lived_apps_leave_nothing(apps: AppList, clock: Clock):
    for number in range(1000):
        apps.update([busy(str(number), 0, 1.0)])
        clock.now += 1.0

    assert len(apps.present) == 1
    assert len(apps.gone) <= KEPT
