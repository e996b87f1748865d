"""Streams without a broker: the states of a stream, and its numbers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postage.services.stream_protocol import (
    FIRST_WINDOW,
    NUMBER,
    SHARE,
    STREAM_MOVES,
    WINDOW,
    StreamEvent,
    StreamFlow,
    StreamState,
    next_stream_state,
    number_in,
)

OPENING, FLOWING, LEFT, ENDED = StreamState
MEMORY = 256 * 2**20


@pytest.mark.parametrize("event", StreamEvent, ids=lambda each: each.name)
@pytest.mark.parametrize("state", StreamState, ids=lambda each: each.name)
def test_each_state_knows_each_event_that_can_happen(state, event):
    if (state, event) == (OPENING, StreamEvent.RETURNED):  # nothing was sent to a server yet
        with pytest.raises(AssertionError, match="RETURNED cannot happen"):
            next_stream_state(state, event)
        return
    after = next_stream_state(state, event)
    assert after is STREAM_MOVES[state][event]
    expected = {
        StreamEvent.ACCEPTED: FLOWING if state is OPENING else state,
        StreamEvent.RETURNED: LEFT if state is FLOWING else state,
        StreamEvent.ENDED: ENDED,
    }
    assert after is expected[event]


@given(st.lists(st.integers(1, 4 * 2**20), max_size=300))
def test_the_server_may_always_go_on_and_never_too_far(sizes):
    flow = StreamFlow(MEMORY)
    for number, size in enumerate(sizes, 1):
        assert flow.taken < flow.allowed  # else both sides would wait
        assert flow.arrive(number, size) == ""
        before = flow.allowed
        if flow.take():
            assert flow.allowed - flow.taken == flow.window
        assert flow.allowed >= before
        assert flow.allowed - flow.taken <= WINDOW
    assert flow.missing_at(len(sizes)) == ""


def test_large_parts_get_a_smaller_window():
    flow = StreamFlow(MEMORY)
    assert flow.allowed == FIRST_WINDOW
    assert flow.window == WINDOW
    flow.arrive(1, 2**20)
    assert flow.window == MEMORY // SHARE // 2**20 == 32
    flow.arrive(2, 2**30)
    assert flow.window == 1


@pytest.mark.parametrize(
    ("number", "wrong"),
    [
        (4, ""),
        (5, "part 4 was lost: after it, part 5"),
        (3, "part 4 was lost"),
        (None, "part 4 was lost"),
        (0, "part 4 was lost"),
    ],
)
def test_a_number_that_is_not_the_next_is_a_loss(number, wrong):
    flow = StreamFlow(MEMORY)
    for each in (1, 2, 3):
        flow.arrive(each, 10)
    assert flow.arrive(number, 10).startswith(wrong)
    assert bool(flow.arrived == 4) == (not wrong)


def test_parts_beyond_the_credit_are_refused():
    flow = StreamFlow(MEMORY)
    said = [flow.arrive(each, 10) for each in range(1, FIRST_WINDOW + 2)]
    assert not any(said[:-1])
    assert "more than the 10 parts" in said[-1]


@pytest.mark.parametrize("number", [0, 1, 2, 4, None])
def test_an_end_after_other_parts_is_a_loss(number):
    flow = StreamFlow(MEMORY)
    flow.arrive(1, 10)
    assert bool(flow.missing_at(number)) == (number != 1)


@pytest.mark.parametrize(
    ("headers", "number"),
    [
        ({NUMBER: 5}, 5),
        ({NUMBER: 0}, 0),
        ({NUMBER: -1}, None),
        ({NUMBER: True}, None),
        ({NUMBER: "5"}, None),
        ({NUMBER: 2.0}, None),
        ({}, None),
        (None, None),
    ],
)
def test_only_whole_numbers_count(headers, number):
    assert number_in(headers) == number
