"""Which peers return the correlation id of a call."""

from __future__ import annotations

from postage.green.rpc.peers import Echoes


def test_a_destination_is_known_by_its_replies() -> None:
    echoes = Echoes()
    assert ("e", "k") not in echoes
    echoes.learn(("e", "k"), echoes=True)
    assert ("e", "k") in echoes
    assert ("e", "other") not in echoes


def test_who_left_the_id_out_once_is_never_trusted_again() -> None:
    echoes = Echoes()
    echoes.learn(("e", "k"), echoes=True)
    echoes.learn(("e", "k"), echoes=False)
    assert ("e", "k") not in echoes
    echoes.learn(("e", "k"), echoes=True)
    assert ("e", "k") not in echoes


def test_the_oldest_is_forgotten_where_there_are_many() -> None:
    echoes = Echoes(limit=3)
    for number in range(10):
        echoes.learn(("e", str(number)), echoes=True)
        assert len(echoes) <= 3
    assert [number for number in range(10) if ("e", str(number)) in echoes] == [7, 8, 9]
