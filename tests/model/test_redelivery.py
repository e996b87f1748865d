"""How often a message was delivered without being acknowledged or rejected."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from postage.redelivery import Redeliveries


class Wire:
    """A channel."""

    alive = True


class Long(int):
    """A number of 64 bits as pika 1.4 decodes it; for pika 1.5 it is a plain integer."""


class FakeDelivery:
    """A delivery on *channel*."""

    times: int
    exchange = "x"

    def __init__(
        self,
        channel: Wire,
        message_id: str | None = "order-7",
        body: bytes = b"{}",
        routing_key: str = "k",
        **headers: Any,
    ) -> None:
        self.channel, self.body, self.routing_key = channel, body, routing_key
        self.properties = SimpleNamespace(message_id=message_id, headers=headers or None)


def lost_times(counts: Redeliveries, losses: int, **marks: Any) -> int:
    """Begin and lose a message so many times; return what its next delivery counts."""
    delivery = FakeDelivery(Wire(), **marks)
    for _ in range(losses):
        delivery.channel.alive = False
        begun, delivery = [delivery], FakeDelivery(Wire(), **marks)
        number = counts.count(delivery, begun)
    return number


@pytest.mark.parametrize("message_id", ["order-7", None])
def test_each_loss_of_a_begun_delivery_counts(message_id: str | None) -> None:
    counts = Redeliveries()
    assert lost_times(counts, 5, message_id=message_id) == 6
    assert len(counts) == 0, "the number is with the delivery"


def test_a_quorum_queue_says_it() -> None:
    counts, wire = Redeliveries(), Wire()
    headers = [{"x-delivery-count": n} for n in (1, 2, 7)]
    assert [counts.count(FakeDelivery(wire, **each), ()) for each in headers] == [2, 3, 8]
    assert lost_times(counts, 3, **{"x-delivery-count": 11}) == 12
    assert len(counts) == 0, "what the queue counts need not be counted here"


def test_a_number_of_64_bits_counts_as_pika_decodes_it() -> None:
    delivery = FakeDelivery(Wire(), **{"x-delivery-count": Long(7)})

    assert Redeliveries().count(delivery, []) == 8


def test_a_header_that_is_no_number_says_nothing() -> None:
    assert lost_times(Redeliveries(), 3, **{"x-delivery-count": "many"}) == 4


@pytest.mark.parametrize("forged", [-(2**63), -1, 2**63, 10**308, True, "abc", None])
def test_a_forged_number_hides_no_loss(forged: object) -> None:
    assert lost_times(Redeliveries(), 3, **{"x-delivery-count": forged}) == 4


def test_headers_that_nobody_can_read_say_nothing() -> None:
    class Unreadable:
        message_id = None

        @property
        def headers(self) -> dict[str, Any]:
            raise OverflowError

    delivery = FakeDelivery(Wire())
    delivery.properties = Unreadable()

    assert Redeliveries().count(delivery, []) == 2


def test_the_texts_of_a_message_are_not_kept() -> None:
    counts = Redeliveries()
    sent = FakeDelivery(Wire(), message_id="i" * 255, routing_key="k" * 255, body=b"b" * 10_000)

    counts.leave(sent)

    assert all(isinstance(kept, int) for kept in counts._left)


def test_a_hundred_messages_of_one_id_are_counted_apart() -> None:
    counts = Redeliveries()
    begun = [FakeDelivery(Wire()) for _ in range(100)]
    for loss in range(1, 20):
        for each in begun:
            each.channel.alive = False
        wire = Wire()
        again = [FakeDelivery(wire) for _ in begun]
        assert [counts.count(each, begun) for each in again] == [loss + 1] * 100
        begun = again


@pytest.mark.parametrize(
    "other", [{"message_id": "b"}, {"message_id": None}, {"body": b"[]"}, {"routing_key": "l"}]
)
def test_other_marks_are_other_messages(other: dict[str, Any]) -> None:
    counts = Redeliveries()
    lost = FakeDelivery(Wire())
    lost.channel.alive = False
    counts.leave(lost)
    assert counts.count(FakeDelivery(Wire(), **other), ()) == 2
    assert len(counts) == 1


def test_a_number_is_left_only_once() -> None:
    counts, wire = Redeliveries(), Wire()
    lost = FakeDelivery(wire)
    wire.alive = False
    counts.leave(lost)  # its handler has ended
    counts.leave(lost)
    assert counts.count(FakeDelivery(Wire()), [lost]) == 2
    assert len(counts) == 0


@pytest.mark.parametrize("kept", [1, 3])
def test_the_latest_losses_are_kept(kept: int) -> None:
    counts = Redeliveries(kept)
    for number in range(10):
        counts.leave(FakeDelivery(Wire(), message_id=str(number % 7)))
        assert len(counts) <= kept


class Message:
    """One message of a queue, and what has happened to it."""

    def __init__(self, marks: str) -> None:
        self.marks = marks
        self.redelivered = False
        self.expected = 1  # the number of its next delivery to a handler, if its marks are unique
        self.number = 0
        self.delivery: FakeDelivery | None = None
        self.is_begun = False


class Queue(RuleBasedStateMachine):
    """A queue with messages of few marks, and one processor that loses its channel again and again.

    Handlers of lost deliveries may end at once, later, or never.
    """

    def __init__(self) -> None:
        super().__init__()
        self.counts, self.wire, self.losses = Redeliveries(), Wire(), 0
        self.messages: list[Message] = []
        self.hanging: list[FakeDelivery] = []

    @rule(marks=st.sampled_from(["a", "b", "only"]))
    def publish(self, marks: str) -> None:
        if marks != "only" or not any(each.marks == "only" for each in self.messages):
            self.messages.append(Message(marks))

    @rule()
    def deliver(self) -> None:
        for each in self.messages:
            if each.delivery is None:
                each.delivery = FakeDelivery(self.wire, each.marks)

    @rule(data=st.data())
    @precondition(lambda self: any(m.delivery and not m.is_begun for m in self.messages))
    def begin(self, data: st.DataObject) -> None:
        message = data.draw(
            st.sampled_from([m for m in self.messages if m.delivery and not m.is_begun])
        )
        assert message.delivery is not None
        message.is_begun, message.number = True, 1
        if not message.redelivered:
            return
        running = [m.delivery for m in self.messages if m.is_begun and m.delivery] + self.hanging
        message.number = self.counts.count(message.delivery, running)
        # Messages with the same marks may swap their numbers; but each part of a number is a loss
        # of its own, so however many messages have these marks, they never add up.
        assert 2 <= message.number <= self.losses + 1
        if message.marks == "only":
            assert message.number == message.expected

    @rule(data=st.data())
    @precondition(lambda self: any(m.is_begun for m in self.messages))
    def settle(self, data: st.DataObject) -> None:
        self.messages.remove(data.draw(st.sampled_from([m for m in self.messages if m.is_begun])))

    @rule(hangs=st.booleans())
    def lose(self, hangs: bool) -> None:
        self.losses += 1
        self.wire.alive = False
        self.wire = Wire()
        for each in self.messages:
            if each.delivery is None:
                continue
            each.redelivered = True
            each.expected = each.expected + 1 if each.is_begun else max(2, each.expected)
            if each.is_begun:
                self.hanging.append(each.delivery)
            each.delivery, each.is_begun = None, False
        if not hangs:
            self.end_handlers()

    @rule()
    def end_handlers(self) -> None:
        for each in self.hanging:
            self.counts.leave(each)
        self.hanging.clear()


Queue.TestCase.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)
test_numbers_of_different_messages_never_add_up = Queue.TestCase
