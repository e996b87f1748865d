"""The kill switch: its states, and what it says of what has failed."""

from __future__ import annotations

import itertools
import math
from typing import Any

import hypothesis.stateful
import pytest
from hypothesis import strategies as st

from postage.errors import GiveUp, MalformedMessage, RejectMessage, RetryLater, SettingsError
from postage.kill_switch import (
    RELAPSES,
    SWITCH_MOVES,
    KillSwitch,
    Ruling,
    Switch,
    SwitchEvent,
    SwitchState,
    kind_of,
    next_switch_state,
)
from tests.support.state_tables import check_move

S, E = SwitchState, SwitchEvent
CLOSED = (S.DOUBTING, S.TRUSTING)
LEGAL = {
    **{(state, E.FAILED): S.DOUBTING for state in CLOSED},
    **{(state, E.ROW_FULL): S.OPEN for state in CLOSED},
    **{(state, E.SUCCEEDED): S.TRUSTING for state in CLOSED},
    **{(state, event): state for state in (S.OPEN, S.PROBING) for event in (E.FAILED, E.SUCCEEDED)},
    **{(state, E.PROBE): S.PROBING for state in (S.OPEN, S.PROBING)},
    (S.PROBING, E.PROBE_FAILED): S.OPEN,
    (S.PROBING, E.PROBE_SUCCEEDED): S.TRUSTING,
}


@pytest.mark.parametrize(
    "move", [*itertools.product(S, E)], ids=lambda move: f"{move[1].name} while {move[0].name}"
)
def test_every_event_in_every_state(move: Any) -> None:
    check_move(next_switch_state, SWITCH_MOVES, LEGAL, move)


@pytest.mark.parametrize("after", [0, -1, 1001, 1.5, True, "20", None, math.nan], ids=repr)
def test_a_wrong_row_is_refused(after: Any) -> None:
    with pytest.raises(SettingsError, match=r"KillSwitch\.after must be an int from 1 to 1000"):
        KillSwitch(after=after)


@pytest.mark.parametrize("probe", [0, -1, 601, math.nan, math.inf, True, "30", None], ids=repr)
def test_a_wrong_pause_is_refused(probe: Any) -> None:
    with pytest.raises(SettingsError, match=r"KillSwitch\.probe must be > 0 seconds"):
        KillSwitch(probe=probe)


def test_the_extremes_are_taken() -> None:
    assert KillSwitch(after=1, probe=0.001) != KillSwitch(after=1000, probe=600)


@pytest.mark.parametrize(
    "errors",
    [[], [GiveUp("no")], [RejectMessage()], [RetryLater(1)], [MalformedMessage("x")],
     [KeyError(), GiveUp("no")]],
    ids=repr,
)  # fmt: skip
def test_what_a_handler_has_said_is_no_failure(errors: Any) -> None:
    assert kind_of(errors) is None


def test_the_first_error_is_the_kind() -> None:
    assert kind_of([ConnectionResetError(), KeyError()]) is ConnectionResetError


def failed(switch: Switch, times: int, kind: Any = OSError) -> list[Ruling]:
    return [switch.fail(kind, marks) for marks in range(times)]


def test_a_full_row_opens() -> None:
    switch = Switch(KillSwitch(after=3))
    assert failed(switch, 2) == [Ruling.HOLD] * 2
    assert (switch.state, switch.room) == (S.DOUBTING, 1)
    assert failed(switch, 1) == [Ruling.HOLD]
    assert (switch.state, switch.kind, switch.room) == (S.OPEN, OSError, None)


def test_a_success_restarts_the_row() -> None:
    switch = Switch(KillSwitch(after=3))
    failed(switch, 2)
    switch.succeed()
    assert (switch.state, switch.row, switch.room) == (S.TRUSTING, 0, None)
    failed(switch, 2)
    assert switch.state is S.DOUBTING


def test_another_kind_restarts_the_row() -> None:
    switch = Switch(KillSwitch(after=3))
    failed(switch, 2)
    assert failed(switch, 1, KeyError) == [Ruling.HOLD]
    assert (switch.state, switch.row, switch.kind) == (S.DOUBTING, 1, KeyError)


def test_a_subclass_is_another_kind() -> None:
    switch = Switch(KillSwitch(after=2))
    failed(switch, 1, OSError)
    failed(switch, 1, ConnectionError)
    assert not switch.is_open


def test_a_row_of_one_opens_at_each_kind() -> None:
    switch = Switch(KillSwitch(after=1))
    assert failed(switch, 1) == [Ruling.HOLD]
    assert switch.is_open


def test_what_ends_late_neither_closes_nor_counts() -> None:
    switch = Switch(KillSwitch(after=1))
    failed(switch, 1)
    switch.succeed()
    assert (switch.state, failed(switch, 1)) == (S.OPEN, [Ruling.HOLD])
    switch.probe()
    switch.succeed()
    assert switch.state is S.PROBING


def relapsed(switch: Switch, marks: int) -> None:
    """Let the message fail until the switch opens; then let another one succeed."""
    switch.fail(OSError, marks)
    switch.probe()
    switch.succeed(is_probe=True)


def test_a_message_that_fails_while_others_succeed_is_settled() -> None:
    switch = Switch(KillSwitch(after=1))
    for _ in range(RELAPSES):
        relapsed(switch, 7)
    assert switch.fail(OSError, 7) is Ruling.SETTLE
    assert switch.state is S.TRUSTING
    assert switch.fail(OSError, 8) is Ruling.HOLD


class SwitchMachine(hypothesis.stateful.RuleBasedStateMachine):
    """The switch beside a plain account of what has ended."""

    def __init__(self) -> None:
        super().__init__()
        self.switch = Switch(KillSwitch(after=4))
        self.ends: list[Any] = []  # kinds, and None for a success, while it was closed
        self.number = 0

    @hypothesis.stateful.rule(kind=st.sampled_from([OSError, KeyError]))
    def fail(self, kind: Any) -> None:
        was_open, self.number = self.switch.is_open, self.number + 1
        ruling = self.switch.fail(kind, self.number)
        assert ruling is not Ruling.SETTLE
        if not was_open:
            self.ends.append(kind)

    @hypothesis.stateful.rule()
    def succeed(self) -> None:
        if not self.switch.is_open:
            self.ends.append(None)
        self.switch.succeed()

    @hypothesis.stateful.precondition(lambda self: self.switch.is_open)
    @hypothesis.stateful.rule(succeeds=st.booleans())
    def probe(self, succeeds: bool) -> None:
        self.switch.probe()
        if succeeds:
            self.switch.succeed(is_probe=True)
            self.ends.append(None)
        else:
            assert self.switch.fail(KeyError, 0, is_probe=True) is Ruling.HOLD
        assert self.switch.is_open is not succeeds

    @hypothesis.stateful.invariant()
    def it_is_open_after_four_of_a_kind(self) -> None:
        last = self.ends[-1:] or [None]
        row = [*itertools.takewhile(lambda end: end is last[0], reversed(self.ends))]
        expected = 0 if last[0] is None else len(row)
        assert self.switch.row == expected <= 4
        assert self.switch.is_open is (expected == 4)

    @hypothesis.stateful.invariant()
    def no_more_run_than_could_fill_the_row(self) -> None:
        if self.switch.state is S.DOUBTING:
            assert self.switch.room == 4 - self.switch.row


TestSwitchMachine = SwitchMachine.TestCase
