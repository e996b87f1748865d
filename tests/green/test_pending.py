"""A call in flight: every state with every event; its first outcome stays."""

from __future__ import annotations

import itertools

import pytest

from postage.errors import ConnectionLost
from postage.exchange import Exchange
from postage.green.rpc.pending import (
    CALL_MOVES,
    CallEvent,
    CallRequest,
    CallState,
    PendingCall,
    next_call_state,
)
from postage.message import NO_ROUTE, MessageResultException
from tests.support.state_tables import check_move

LEGAL = {
    (CallState.PREPARING, CallEvent.SENT): CallState.IN_FLIGHT,
    (CallState.PREPARING, CallEvent.LOST): CallState.PREPARING,
    (CallState.PREPARING, CallEvent.OUTCOME): CallState.ENDED,
    (CallState.IN_FLIGHT, CallEvent.TIMED_OUT): CallState.PREPARING,
    (CallState.IN_FLIGHT, CallEvent.LOST): CallState.PREPARING,
    (CallState.IN_FLIGHT, CallEvent.OUTCOME): CallState.ENDED,
    (CallState.ENDED, CallEvent.LOST): CallState.ENDED,
    (CallState.ENDED, CallEvent.OUTCOME): CallState.ENDED,
}
EVERY = list(itertools.product(CallState, CallEvent))


@pytest.mark.parametrize(("state", "event"), EVERY, ids=lambda each: each.name)
def test_a_legal_move_is_made_and_an_illegal_one_raises(state: CallState, event: CallEvent) -> None:
    check_move(next_call_state, CALL_MOVES, LEGAL, (state, event))


def made() -> PendingCall:
    return PendingCall("id", CallRequest(Exchange, "key", b"", "text/plain"))


def test_a_call_knows_its_destination() -> None:
    assert made().destination == (Exchange.name, "key")


def test_the_first_outcome_stays() -> None:
    call = made()
    call.start_try()
    call.fail(NO_ROUTE, "first")
    call.fail(NO_ROUTE, "second")

    assert not call.finish(MessageResultException("E", "third"))
    assert call.outcome == MessageResultException(NO_ROUTE, "first")
    assert call.state is CallState.ENDED


def test_a_loss_ends_the_try_in_flight_and_wakes_its_caller() -> None:
    call, error = made(), ConnectionLost("gone")
    call.end_try(error)
    assert call.loss is None

    call.start_try()
    call.end_try(error)
    assert (call.state, call.loss) == (CallState.PREPARING, error)
    call.wait_for_outcome(0.0)
    call.start_try()
    assert call.loss is None


def test_a_try_that_times_out_can_be_sent_again() -> None:
    call = made()
    for _ in range(2):
        call.start_try()
        call.wait_for_outcome(0.0)
        assert (call.state, call.outcome, call.loss) == (CallState.PREPARING, None, None)
