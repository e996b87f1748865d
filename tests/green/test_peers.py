"""Which peers return the correlation id: every state with every event."""

from __future__ import annotations

import itertools

import pytest

from postage.green.rpc.peers import (
    PEER_MOVES,
    PeerEvent,
    PeerState,
    PeerTable,
    next_peer_state,
)
from tests.support.state_tables import check_move

LEGAL = {
    (PeerState.UNKNOWN, PeerEvent.PROBE_STARTED): PeerState.PROBING,
    (PeerState.UNKNOWN, PeerEvent.PROBE_ENDED): PeerState.UNKNOWN,
    (PeerState.UNKNOWN, PeerEvent.ID_RETURNED): PeerState.ECHOES,
    (PeerState.UNKNOWN, PeerEvent.ID_MISSING): PeerState.CLASSIC,
    (PeerState.UNKNOWN, PeerEvent.DOUBTED): PeerState.UNKNOWN,
    (PeerState.PROBING, PeerEvent.PROBE_ENDED): PeerState.UNKNOWN,
    (PeerState.PROBING, PeerEvent.ID_RETURNED): PeerState.ECHOES,
    (PeerState.PROBING, PeerEvent.ID_MISSING): PeerState.CLASSIC,
    (PeerState.PROBING, PeerEvent.DOUBTED): PeerState.PROBING,
    (PeerState.ECHOES, PeerEvent.PROBE_ENDED): PeerState.ECHOES,
    (PeerState.ECHOES, PeerEvent.ID_RETURNED): PeerState.ECHOES,
    (PeerState.ECHOES, PeerEvent.ID_MISSING): PeerState.CLASSIC,
    (PeerState.ECHOES, PeerEvent.DOUBTED): PeerState.UNKNOWN,
    (PeerState.CLASSIC, PeerEvent.PROBE_ENDED): PeerState.CLASSIC,
    (PeerState.CLASSIC, PeerEvent.ID_RETURNED): PeerState.CLASSIC,
    (PeerState.CLASSIC, PeerEvent.ID_MISSING): PeerState.CLASSIC,
    (PeerState.CLASSIC, PeerEvent.DOUBTED): PeerState.CLASSIC,
}
EVERY = list(itertools.product(PeerState, PeerEvent))


@pytest.mark.parametrize(("state", "event"), EVERY, ids=lambda each: each.name)
def test_a_legal_move_is_made_and_an_illegal_one_raises(state: PeerState, event: PeerEvent) -> None:
    check_move(next_peer_state, PEER_MOVES, LEGAL, (state, event))


def test_a_destination_is_unknown_until_its_first_event() -> None:
    peers = PeerTable()
    assert peers["e", "k"] is PeerState.UNKNOWN
    assert not peers
    assert peers.record(("e", "k"), PeerEvent.ID_RETURNED) is PeerState.ECHOES
    assert peers["e", "k"] is PeerState.ECHOES
    assert peers["e", "other"] is PeerState.UNKNOWN


def test_a_destination_that_left_the_id_out_once_stays_classic() -> None:
    peers = PeerTable()
    for event in (PeerEvent.ID_RETURNED, PeerEvent.ID_MISSING, PeerEvent.ID_RETURNED):
        peers.record(("e", "k"), event)
    assert peers["e", "k"] is PeerState.CLASSIC


def test_an_event_that_cannot_happen_changes_nothing() -> None:
    peers = PeerTable()
    peers.record(("e", "k"), PeerEvent.PROBE_STARTED)
    with pytest.raises(AssertionError):
        peers.record(("e", "k"), PeerEvent.PROBE_STARTED)
    assert peers == {("e", "k"): PeerState.PROBING}


def test_beyond_the_limit_the_oldest_destination_is_dropped() -> None:
    peers = PeerTable(limit=3)
    for number in range(10):
        peers.record(("e", str(number)), PeerEvent.ID_RETURNED)
        assert len(peers) <= 3
    assert list(peers) == [("e", "7"), ("e", "8"), ("e", "9")]


def test_a_probe_without_an_answer_leaves_nothing_behind() -> None:
    table = PeerTable()
    destination = "exchange", "k" * 10_000  # the broker will refuse it

    table.record(destination, PeerEvent.PROBE_STARTED)
    table.record(destination, PeerEvent.PROBE_ENDED)

    assert not table
    assert table[destination] is PeerState.UNKNOWN
