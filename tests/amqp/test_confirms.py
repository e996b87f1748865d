"""Confirms of publishes, compared with a list as the model."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from postage.green.amqp.confirms import Confirms


class ConfirmsMachine(RuleBasedStateMachine):
    """Publishes, returns and confirms in any order, some without a waiter."""

    def __init__(self) -> None:
        super().__init__()
        self.confirms: Confirms[str] = Confirms()
        self.model: list[tuple[int, str]] = []
        self.mandatory: set[int] = set()
        self.published = 0

    @rule(mandatory=st.booleans())
    def publish(self, mandatory: bool) -> None:
        self.published += 1
        waiter = f"waiter {self.published}"
        message_id = f"id {self.published}" if mandatory else None
        assert self.confirms.expect(waiter, message_id) == self.published
        self.model.append((self.published, waiter))
        if mandatory:
            self.mandatory.add(self.published)

    @rule(data=st.data())
    def is_returned(self, data: st.DataObject) -> None:
        tag = data.draw(st.integers(1, self.published + 2))
        waits = [waiter for number, waiter in self.model if number == tag]
        expected = waits[0] if waits and tag in self.mandatory else None
        assert self.confirms.pop_returned(f"id {tag}") == expected
        if expected is not None:
            self.model.remove((tag, expected))

    @rule()
    def is_returned_without_an_id(self) -> None:
        assert self.confirms.pop_returned(None) is None

    @rule(data=st.data())
    def confirm_one(self, data: st.DataObject) -> None:
        tag = data.draw(st.integers(1, self.published + 2))
        expected = [waiter for number, waiter in self.model if number == tag]
        assert self.confirms.pop(tag, multiple=False) == expected
        self.model = [entry for entry in self.model if entry[0] != tag]

    @rule(data=st.data())
    def confirm_all_up_to(self, data: st.DataObject) -> None:
        tag = data.draw(st.integers(1, self.published + 2))
        expected = [waiter for number, waiter in self.model if number <= tag]
        assert self.confirms.pop(tag, multiple=True) == expected
        self.model = [entry for entry in self.model if entry[0] > tag]

    @precondition(lambda self: len(self.model) > 2)
    @rule()
    def clear(self) -> None:
        assert self.confirms.clear() == [waiter for _, waiter in self.model]
        self.model = []

    @invariant()
    def as_many_wait(self) -> None:
        assert len(self.confirms) == len(self.model)
        assert self.confirms.expected == self.published

    @invariant()
    def nothing_is_kept_of_those_that_do_not_wait(self) -> None:
        waiting = {number for number, _ in self.model} & self.mandatory
        assert self.confirms._ids.keys() == waiting
        assert set(self.confirms._tags.values()) == waiting


ConfirmsMachine.TestCase.settings = settings(max_examples=40, stateful_step_count=30)
TestConfirms = ConfirmsMachine.TestCase
