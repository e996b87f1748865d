"""The states of a subscription: every legal transition, and no other."""

from __future__ import annotations

import itertools

import pytest

from postage.green.subscription_states import (
    TRANSITIONS,
    SubscriptionEvent,
    SubscriptionState,
    next_subscription_state,
)
from tests.support.state_tables import check_move

STATE, EVENT = SubscriptionState, SubscriptionEvent

LEGAL = {
    (STATE.NEW, EVENT.START): STATE.STARTING,
    (STATE.NEW, EVENT.STOP): STATE.STOPPED,
    (STATE.NEW, EVENT.RESUME): STATE.NEW,
    (STATE.STARTING, EVENT.RESUME): STATE.STARTING,
    (STATE.CONSUMING, EVENT.RESUME): STATE.STARTING,
    (STATE.RECOVERING, EVENT.RESUME): STATE.RECOVERING,
    (STATE.FAILED, EVENT.RESUME): STATE.FAILED,
    (STATE.STOPPED, EVENT.RESUME): STATE.STOPPED,
    (STATE.STARTING, EVENT.RESTORED): STATE.CONSUMING,
    (STATE.STARTING, EVENT.BROKEN): STATE.RECOVERING,
    (STATE.STARTING, EVENT.FAIL): STATE.FAILED,
    (STATE.STARTING, EVENT.STOP): STATE.STOPPED,
    (STATE.CONSUMING, EVENT.BROKEN): STATE.RECOVERING,
    (STATE.CONSUMING, EVENT.FAIL): STATE.FAILED,
    (STATE.CONSUMING, EVENT.STOP): STATE.STOPPED,
    (STATE.RECOVERING, EVENT.RESTORED): STATE.CONSUMING,
    (STATE.RECOVERING, EVENT.BROKEN): STATE.RECOVERING,
    (STATE.RECOVERING, EVENT.FAIL): STATE.FAILED,
    (STATE.RECOVERING, EVENT.STOP): STATE.STOPPED,
    (STATE.FAILED, EVENT.BROKEN): STATE.FAILED,
    (STATE.FAILED, EVENT.FAIL): STATE.FAILED,
    (STATE.FAILED, EVENT.STOP): STATE.STOPPED,
    (STATE.STOPPED, EVENT.BROKEN): STATE.STOPPED,
    (STATE.STOPPED, EVENT.FAIL): STATE.STOPPED,
    (STATE.STOPPED, EVENT.STOP): STATE.STOPPED,
}
EVERY = list(itertools.product(SubscriptionState, SubscriptionEvent))


@pytest.mark.parametrize("pair", EVERY, ids=lambda pair: f"{pair[1].name} while {pair[0].name}")
def test_a_legal_move_is_made_and_an_illegal_one_raises(
    pair: tuple[SubscriptionState, SubscriptionEvent],
) -> None:
    check_move(next_subscription_state, TRANSITIONS, LEGAL, pair)


def test_every_state_can_be_reached_and_every_one_can_end() -> None:
    def reachable(start: SubscriptionState) -> set[SubscriptionState]:
        found = {start}
        while more := {to for state in found for to in TRANSITIONS[state].values()} - found:
            found |= more
        return found

    assert reachable(STATE.NEW) == set(TRANSITIONS) == set(SubscriptionState)
    assert all(STATE.STOPPED in reachable(state) for state in TRANSITIONS)
    assert reachable(STATE.STOPPED) == {STATE.STOPPED}, "it is not used again"
