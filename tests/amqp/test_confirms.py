"""Which publishes are confirmed: against a model that is a list."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from postage.green.amqp.confirms import Confirms
from postage.green.amqp.frames import Confirm


class ConfirmsMachine(RuleBasedStateMachine):
    """Publishes and confirms in any order, also confirms for what nobody waits for."""

    def __init__(self) -> None:
        super().__init__()
        self.confirms: Confirms[str] = Confirms()
        self.model: list[tuple[int, str]] = []
        self.published = 0

    @rule()
    def publish(self) -> None:
        self.published += 1
        waiter = f"waiter {self.published}"
        assert self.confirms.expect(waiter) == self.published
        self.model.append((self.published, waiter))

    @rule(data=st.data(), nack=st.booleans())
    def confirm_one(self, data: st.DataObject, nack: bool) -> None:
        tag = data.draw(st.integers(1, self.published + 2))
        expected = [waiter for number, waiter in self.model if number == tag]
        assert self.confirms.settle(Confirm(tag, False, nack)) == expected
        self.model = [entry for entry in self.model if entry[0] != tag]

    @rule(data=st.data(), nack=st.booleans())
    def confirm_all_up_to(self, data: st.DataObject, nack: bool) -> None:
        tag = data.draw(st.integers(1, self.published + 2))
        expected = [waiter for number, waiter in self.model if number <= tag]
        assert self.confirms.settle(Confirm(tag, True, nack)) == expected
        self.model = [entry for entry in self.model if entry[0] > tag]

    @precondition(lambda self: len(self.model) > 2)
    @rule()
    def abandon(self) -> None:
        assert self.confirms.abandon() == [waiter for _, waiter in self.model]
        self.model = []

    @invariant()
    def as_many_wait(self) -> None:
        assert len(self.confirms) == len(self.model)


ConfirmsMachine.TestCase.settings = settings(max_examples=40, stateful_step_count=30)
TestConfirms = ConfirmsMachine.TestCase
