"""How often a message was delivered without being acknowledged or rejected."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from postage.redelivery import Redeliveries


def test_a_quorum_queue_says_it() -> None:
    counts = Redeliveries()
    deliveries = [counts.deliveries("q", "id", {"x-delivery-count": n}) for n in (1, 2, 7)]
    assert deliveries == [2, 3, 8]
    assert len(counts) == 0, "what the queue counts need not be counted here"


def test_elsewhere_it_is_counted_by_queue_and_message_id() -> None:
    counts = Redeliveries()
    came = [("q", "a"), ("q", "a"), ("q", "b"), ("other", "a"), ("q", "a")]
    assert [counts.deliveries(queue, id_, None) for queue, id_ in came] == [2, 3, 2, 2, 4]


def test_without_an_id_all_that_is_known_is_that_it_came_before() -> None:
    counts = Redeliveries()
    assert [counts.deliveries("q", None, {}) for _ in range(3)] == [2, 2, 2]
    assert len(counts) == 0


def test_a_header_that_is_no_number_says_nothing() -> None:
    counts = Redeliveries()
    headers = {"x-delivery-count": "many"}
    assert [counts.deliveries("q", "a", headers) for _ in range(2)] == [2, 3]


@given(st.lists(st.sampled_from("abcdef")), st.integers(1, 4))
def test_the_latest_messages_are_counted(ids: list[str], kept: int) -> None:
    counts, model = Redeliveries(kept), dict[str, int]()
    for id_ in ids:
        known = model.pop(id_, 1) + 1
        model = dict([*model.items(), (id_, known)][-kept:])
        assert counts.deliveries("q", id_, None) == known
        assert len(counts) == len(model) <= kept
