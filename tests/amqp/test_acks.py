"""Acks: every finished delivery is acknowledged, and no other."""

from __future__ import annotations

from typing import Any

import hypothesis.stateful
from hypothesis import strategies as st

from postage.green.amqp.delivery import NO_PROPERTIES, Acks, Delivery


def delivery_of(consumer: str) -> Delivery:
    delivery = Delivery(consumer, 1, False, "", "", 0.0)
    delivery.origin, delivery.header = "queue", NO_PROPERTIES
    return delivery


def holding(*tags: int) -> Acks:
    acks = Acks()
    for tag in tags:
        acks.add(tag, delivery_of("one" if tag % 2 else "two"))
    return acks


def test_one_ack_covers_a_run_of_finished_deliveries() -> None:
    acks = holding(1, 2, 3, 4)
    assert all(acks.finish(tag) for tag in (3, 1, 2))
    assert acks.flush() == [(3, True)]
    assert acks.finish(4)
    assert acks.flush() == [(4, False)]
    assert acks.flush() == []


def test_deliveries_in_progress_are_never_acknowledged() -> None:
    acks = holding(1, 2, 3, 4, 5)
    for tag in (5, 1, 2, 4):
        acks.finish(tag)
    assert acks.flush() == [(2, True), (5, False), (4, False)]


def test_a_rejected_delivery_does_not_split_an_ack() -> None:
    acks = holding(1, 2, 3)
    assert acks.discard(2, requeued=False)
    acks.finish(3)
    acks.finish(1)
    assert acks.flush() == [(3, True)]


def test_no_delivery_is_acknowledged_twice() -> None:
    acks = holding(1, 2)
    assert acks.finish(1)
    assert acks.discard(2, requeued=True)
    assert not any(acks.finish(tag) for tag in (1, 2, 9))
    assert not any(acks.discard(tag, requeued=False) for tag in (1, 2, 9))
    assert acks.flush() == [(1, False)]


def test_deliveries_in_progress_are_known_by_consumer() -> None:
    acks = holding(1, 2, 3, 4)
    acks.finish(3)
    assert acks.of_consumers({"one"}) == [1]
    assert acks.of_consumers({"one", "two"}) == [1, 2, 4]
    assert len(acks) == 3


def test_clear_returns_how_many_acks_are_lost() -> None:
    acks = holding(1, 2, 3)
    acks.finish(1)
    acks.finish(2)
    assert acks.clear() == 2
    assert (len(acks), acks.flush(), acks.finish(3)) == (0, [], False)


class Broker(hypothesis.stateful.RuleBasedStateMachine):
    """A broker that keeps unacknowledged deliveries, as the specification says."""

    def __init__(self) -> None:
        super().__init__()
        self.acks = Acks()
        self.last = 0
        self.running: set[int] = set()  # a handler is at it
        self.unsettled: set[int] = set()  # as the broker sees it
        self.due: set[int] = set()

    @hypothesis.stateful.rule(skipped=st.integers(1, 3), consumer=st.sampled_from("ab"))
    def deliver(self, skipped: int, consumer: str) -> None:
        """A delivery arrives; the tags skipped are of consumers that do not acknowledge."""
        self.last += skipped
        self.acks.add(self.last, delivery_of(consumer))
        self.running.add(self.last)
        self.unsettled.add(self.last)

    @hypothesis.stateful.precondition(lambda self: self.running)
    @hypothesis.stateful.rule(data=st.data())
    def end(self, data: Any) -> None:
        tag = data.draw(st.sampled_from(sorted(self.running)))
        self.running.remove(tag)
        self.due.add(tag)
        assert self.acks.finish(tag)

    @hypothesis.stateful.precondition(lambda self: self.running)
    @hypothesis.stateful.rule(data=st.data())
    def reject(self, data: Any) -> None:
        tag = data.draw(st.sampled_from(sorted(self.running)))
        self.running.remove(tag)
        self.unsettled.remove(tag)
        assert self.acks.discard(tag, requeued=data.draw(st.booleans()))

    @hypothesis.stateful.rule()
    def flush(self) -> None:
        for tag, multiple in self.acks.flush():
            assert tag in self.unsettled, "the broker would close the channel (406)"
            covered = {each for each in self.unsettled if each <= tag} if multiple else {tag}
            assert not covered & self.running, "before its handler was done"
            self.unsettled -= covered
        assert not self.due & self.unsettled, "all that was finished is settled"
        self.due.clear()

    @hypothesis.stateful.invariant()
    def what_runs_is_held(self) -> None:
        assert self.running <= self.unsettled
        assert len(self.acks) == len(self.running)


TestAgainstABroker = Broker.TestCase
