"""Silence: when a connection is asked, and when it is given up as half-open."""

from __future__ import annotations

import itertools
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from postage.green.amqp.silence import MAX_ALLOWANCE, PATIENCE, SLOWEST, Silence, SilenceVerdict
from postage.protocol import HEARTBEAT_FRAME

Looks = list[dict[str, Any]]
GIVEN_UP = [SilenceVerdict.WAIT] * (PATIENCE - 1) + [SilenceVerdict.ASK]
GIVEN_UP += [SilenceVerdict.WAIT] * (PATIENCE - 1) + [SilenceVerdict.GIVE_UP]


def verdicts(looks: Looks, silence: Silence | None = None) -> list[SilenceVerdict]:
    """Return the verdicts of these looks; what a look does not say is 0 or False."""
    silence = silence or Silence()
    nothing = {"received": 0, "unanswered": 0, "is_owed": False, "waiting": 0, "blocked": False}
    return [silence.look(**{**nothing, **each}) for each in looks]


def test_what_is_never_answered_ends_the_connection() -> None:
    assert verdicts([{"unanswered": 100}] * 2 * PATIENCE) == GIVEN_UP


def test_an_answer_that_is_owed_ends_the_connection() -> None:
    assert verdicts([{"is_owed": True}] * 2 * PATIENCE) == GIVEN_UP


def test_more_that_is_written_changes_nothing() -> None:
    assert verdicts([{"unanswered": 100 * n} for n in range(1, 2 * PATIENCE + 1)]) == GIVEN_UP


def test_data_that_waits_and_does_not_move_ends_the_connection() -> None:
    assert verdicts([{"is_owed": True, "waiting": 10**6}] * 2 * PATIENCE) == GIVEN_UP


def test_data_that_the_peer_swallows_ends_the_connection() -> None:
    looks = [{"is_owed": True, "waiting": 100 * (n % 2)} for n in range(2 * PATIENCE)]
    assert verdicts(looks) == GIVEN_UP


def test_a_network_that_is_slow_ends_nothing() -> None:
    looks = [{"is_owed": True, "waiting": waiting} for waiting in range(1000, 0, -1)]
    assert set(verdicts(looks)) == {SilenceVerdict.WAIT}


def test_data_that_the_network_holds_has_time_to_cross() -> None:
    seconds = 26
    looks = [{"is_owed": True, "unanswered": seconds * SLOWEST}] * (2 * PATIENCE + seconds)
    assert verdicts(looks).index(SilenceVerdict.GIVE_UP) == len(looks) - 1


def test_the_time_to_cross_has_a_limit() -> None:
    looks = [{"is_owed": True, "unanswered": 10**12}] * (2 * PATIENCE + MAX_ALLOWANCE)
    assert verdicts(looks).index(SilenceVerdict.GIVE_UP) == len(looks) - 1


def test_what_was_never_taken_gets_no_time_to_cross() -> None:
    looks = [{"is_owed": True, "unanswered": 10**7, "waiting": 10**7}] * 2 * PATIENCE
    assert verdicts(looks) == GIVEN_UP


def test_an_alarm_ends_nothing() -> None:
    assert set(verdicts([{"is_owed": True, "blocked": True}] * 100)) == {SilenceVerdict.WAIT}


def test_a_quiet_connection_is_not_asked() -> None:
    looks = [{"received": 500}, *[{"received": 500, "unanswered": len(HEARTBEAT_FRAME)}] * 100]
    assert set(verdicts(looks)) == {SilenceVerdict.WAIT}


def test_a_suspect_that_is_quiet_is_asked() -> None:
    silence = Silence()
    verdicts([{"received": 500}], silence)
    silence.suspect()
    at_once = GIVEN_UP[PATIENCE - 1 :]
    assert verdicts([{"received": 500}] * len(at_once), silence) == at_once


def test_a_suspect_that_answers_is_none() -> None:
    silence = Silence()
    silence.suspect()
    assert set(verdicts([{"received": 500}] * 2 * PATIENCE, silence)) == {SilenceVerdict.WAIT}


def test_a_broker_that_cannot_be_asked_is_not_given_up() -> None:
    silence = Silence()
    for _ in range(10):
        assert verdicts([{"is_owed": True}] * PATIENCE, silence)[-1] is SilenceVerdict.ASK
        silence.excuse()


@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "received": st.booleans(),
                "unanswered": st.integers(0, 50),
                "is_owed": st.booleans(),
                "waiting": st.integers(0, 3),
                "blocked": st.booleans(),
            }
        ),
        max_size=60,
    )
)
def test_it_is_given_up_only_after_it_was_asked_in_vain(steps: list[dict[str, Any]]) -> None:
    heard_until_then = itertools.accumulate(step["received"] for step in steps)
    looks = [
        {**step, "received": received}
        for step, received in zip(steps, heard_until_then, strict=True)
    ]
    asked, heard = -1, -1
    for number, (step, verdict) in enumerate(zip(steps, verdicts(looks), strict=True)):
        if step["received"] or step["blocked"]:
            heard = number
        if verdict is SilenceVerdict.ASK:
            asked = number
            assert number - heard >= PATIENCE
        if verdict is SilenceVerdict.GIVE_UP:
            assert asked > heard
            assert number - asked >= PATIENCE
