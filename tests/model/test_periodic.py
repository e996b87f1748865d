"""The mark of periodic jobs."""

from __future__ import annotations

import pytest

from postage.errors import SettingsError
from postage.periodic import every, jobs_of


class Base:
    @every(2)
    def tick(self):
        return "tick"

    @every(0.5)
    def tock(self):
        return "tock"

    def plain(self):
        return "plain"


def test_a_marked_method_can_still_be_called():
    assert Base().tick() == "tick"


def test_the_jobs_of_a_class_are_its_own_and_those_it_inherits():
    class Derived(Base):
        @every(3)
        def more(self):
            pass

    assert dict(jobs_of(Base)) == {"tick": 2.0, "tock": 0.5}
    assert dict(jobs_of(Derived)) == {"tick": 2.0, "tock": 0.5, "more": 3.0}


def test_an_override_needs_a_mark_of_its_own():
    class Derived(Base):
        tock = None

        def tick(self):
            pass

    assert dict(jobs_of(Derived)) == {}


@pytest.mark.parametrize("seconds", [0, -1, float("inf"), float("nan")])
def test_what_is_no_time_to_wait_is_refused(seconds):
    with pytest.raises(SettingsError, match="more than 0"):
        every(seconds)
