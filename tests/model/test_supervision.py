"""Which components are restarted, how often, and after which pauses."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postage.errors import SettingsError
from postage.supervision import LONGEST_PAUSE, End, Policy, Restarts, is_restarted


@pytest.mark.parametrize(
    ("word", "stopped", "finished", "crashed"),
    [
        ("permanent", False, True, True),
        ("transient", False, False, True),
        ("temporary", False, False, False),
    ],
)
def test_the_policies_have_the_meaning_of_erlang(word, stopped, finished, crashed):
    ends = (End.STOPPED, End.FINISHED, End.CRASHED)

    assert [is_restarted(word, end) for end in ends] == [stopped, finished, crashed]
    assert [is_restarted(Policy(word), end) for end in ends] == [stopped, finished, crashed]


@pytest.mark.parametrize("word", ["always", "", None, 5, [], lambda: None])
def test_another_word_is_an_error_that_lists_them(word):
    with pytest.raises(SettingsError, match="'permanent', 'transient', 'temporary'"):
        is_restarted(word, End.STOPPED)


def test_the_pauses_grow_and_it_gives_up():
    restarts = Restarts(intensity=3, period=60.0, pause=0.4)

    assert [restarts.pause(now) for now in (0.0, 1.0, 2.0, 3.0)] == [0.0, 0.4, 0.8, None]
    assert restarts.pause(60.5) == 0.8
    assert restarts.pause(500.0) == 0.0


def test_the_pauses_do_not_grow_for_ever():
    restarts = Restarts(intensity=5000, period=math.inf)
    pauses = [restarts.pause(0.0) for _ in range(5000)]

    assert pauses[-1] == max(pauses) == LONGEST_PAUSE


@given(
    st.lists(st.floats(0.0, 20.0), max_size=40),
    st.integers(0, 5),
    st.floats(0.1, 30.0),
)
def test_restarts_in_any_period_stay_within_the_intensity(gaps, intensity, period):
    restarts, now, granted = Restarts(intensity, period), 0.0, []
    for gap in gaps:
        now += gap
        if restarts.pause(now) is not None:
            granted.append(now)

    for moment in granted:
        assert sum(moment - period < other <= moment for other in granted) <= intensity
