"""When a processor takes no more messages, because what their handlers need is away.  Pure.

How it works
------------
A dependency that is away makes every message fail in the same way, one after the other.  So a
processor with a `KillSwitch` counts failures in a row: of one exception class, with no success in
between, in the order in which handlers end.

* **DOUBTING**, at the start and after each failure: no more messages are begun than could fail
  before the row is full.
* **TRUSTING**, after a success.
* **OPEN**, after a full row: nothing is taken, and nothing that fails is settled.
* **PROBING**: one message is handled.  Its success closes the switch, its failure opens it again.

What has failed is held, unsettled, until it is clear whether the dependency was to blame.  It was
not if a message succeeds that was begun after the failure: only then the policy of the failed
message decides.  Messages that were begun before may succeed although the dependency has gone
meanwhile.

A message may fail although its dependency works.  If it is among those that had failed when the
switch closed, and that has happened `RELAPSES` times, it is settled at its next failure, and does
not count.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from postage.errors import GiveUp, MalformedMessage, RejectMessage, RetryLater
from postage.values import number, seconds

# fmt: off
__all__ = [
    "SWITCH_MOVES", "KillSwitch", "Ruling", "Switch", "SwitchEvent", "SwitchState", "kind_of",
    "next_switch_state",
]
# fmt: on

LONGEST_PROBE = 600.0
"""Seconds between two probes, at most: RabbitMQ takes back what is held for half an hour."""
LARGEST_ROW = 1000
"""Failed messages that a processor holds until a row is decided, at most."""
RELAPSES = 3
"""How often a message may be among those that had failed when the switch closed."""
REMEMBERED = 10_000
"""The messages whose relapses are counted."""

_after = number(1, LARGEST_ROW)
_probe = seconds(most=LONGEST_PROBE)


@dataclass(frozen=True, slots=True)
class KillSwitch:
    """When a processor takes no more messages, because they all fail by errors of one kind.

    *after*: how many failures in a row open the switch, from 1 to 1000.  *probe*: the seconds
    between two messages that are tried while it is open, at most 600.  See docs/failures.md.

    Raises `SettingsError` for values that cannot be used.
    """

    after: int = 20
    probe: float = 30.0

    def __post_init__(self) -> None:
        _after("KillSwitch.after", self.after)
        _probe("KillSwitch.probe", self.probe)


class SwitchState(enum.Enum):
    """Whether a processor takes messages, as far as its kill switch is concerned."""

    DOUBTING = enum.auto()
    """It takes messages, but begins few at a time: none has succeeded yet, or the last failed."""
    TRUSTING = enum.auto()
    OPEN = enum.auto()
    """It takes none."""
    PROBING = enum.auto()
    """It takes one."""


class SwitchEvent(enum.Enum):
    """What can happen to a kill switch."""

    FAILED = enum.auto()
    ROW_FULL = enum.auto()
    """A message failed, and the row is full."""
    SUCCEEDED = enum.auto()
    PROBE = enum.auto()
    """It is time to try a message."""
    PROBE_FAILED = enum.auto()
    PROBE_SUCCEEDED = enum.auto()


_S, _E = SwitchState, SwitchEvent

SWITCH_MOVES: Mapping[SwitchState, Mapping[SwitchEvent, SwitchState]] = {
    _S.DOUBTING: {
        _E.FAILED: _S.DOUBTING,
        _E.ROW_FULL: _S.OPEN,
        _E.SUCCEEDED: _S.TRUSTING,
    },
    _S.TRUSTING: {
        _E.FAILED: _S.DOUBTING,
        _E.ROW_FULL: _S.OPEN,
        _E.SUCCEEDED: _S.TRUSTING,
    },
    # Messages that were begun before may still end.  Their success proves nothing: the dependency
    # may have answered them before it went away.
    _S.OPEN: {_E.FAILED: _S.OPEN, _E.SUCCEEDED: _S.OPEN, _E.PROBE: _S.PROBING},
    _S.PROBING: {
        _E.FAILED: _S.PROBING,
        _E.SUCCEEDED: _S.PROBING,
        _E.PROBE: _S.PROBING,  # no message has come for the probe
        _E.PROBE_FAILED: _S.OPEN,
        _E.PROBE_SUCCEEDED: _S.TRUSTING,
    },
}


def next_switch_state(state: SwitchState, event: SwitchEvent) -> SwitchState:
    """Return the state after *event*; raise `AssertionError` where *event* cannot happen."""
    if event not in SWITCH_MOVES[state]:
        raise AssertionError(f"{event.name} cannot happen to a switch that is {state.name}")
    return SWITCH_MOVES[state][event]


class Ruling(enum.Enum):
    """What becomes of a message that has failed."""

    SETTLE = enum.auto()
    """Its policy decides at once."""
    HOLD = enum.auto()
    """It is not clear yet."""


_OWN_FAULTS = (GiveUp, MalformedMessage, RejectMessage, RetryLater)


def kind_of(errors: Iterable[BaseException]) -> type[BaseException] | None:
    """Return the kind of failure that *errors* of one message are; None: the message's own."""
    errors = list(errors)
    if not errors or any(isinstance(each, _OWN_FAULTS) for each in errors):
        return None  # a handler has said what shall become of the message
    return type(errors[0])


class Switch:
    """The kill switch of one processor: counts, and says what becomes of what has failed.

    The owner of the switch reports each end of a handler, and looks at `state` before and after.
    """

    def __init__(self, settings: KillSwitch) -> None:
        self.settings = settings
        self.state = SwitchState.DOUBTING
        self.kind: type[BaseException] | None = None
        """The kind of error of the present row."""
        self.row = 0
        """How many messages have failed in a row."""
        self._failed: set[int] = set()
        self._relapses: dict[int, int] = {}

    def __repr__(self) -> str:
        row = f"{self.row} of {self.settings.after} in a row"
        return f"<Switch {self.state.name.lower()}, {row}>"

    @property
    def is_open(self) -> bool:
        """Whether nothing is taken, except for probes."""
        return self.state in (SwitchState.OPEN, SwitchState.PROBING)

    @property
    def room(self) -> int | None:
        """How many messages may run at a time; None: any number."""
        if self.state is SwitchState.DOUBTING:
            return max(1, self.settings.after - self.row)
        return None

    def fail(self, kind: type[BaseException], marks: int, *, is_probe: bool = False) -> Ruling:
        """Note that the message with *marks* has failed by an error of *kind*."""
        if self.is_open:
            self._failed.add(marks)
            self._move(SwitchEvent.PROBE_FAILED if is_probe else SwitchEvent.FAILED)
            return Ruling.HOLD
        if self._relapses.get(marks, 0) >= RELAPSES:
            del self._relapses[marks]
            return Ruling.SETTLE
        self.row = self.row + 1 if kind is self.kind else 1
        self.kind = kind
        self._failed.add(marks)
        is_full = self.row >= self.settings.after
        self._move(SwitchEvent.ROW_FULL if is_full else SwitchEvent.FAILED)
        return Ruling.HOLD

    def succeed(self, *, is_probe: bool = False) -> None:
        """Note that a message has succeeded."""
        if is_probe:
            self._note_relapses()
        self._move(SwitchEvent.PROBE_SUCCEEDED if is_probe else SwitchEvent.SUCCEEDED)
        if not self.is_open:
            self.kind, self.row = None, 0
            self._failed.clear()

    def probe(self) -> None:
        """Let one message be tried."""
        self._move(SwitchEvent.PROBE)

    def _note_relapses(self) -> None:
        for marks in self._failed:
            self._relapses[marks] = self._relapses.get(marks, 0) + 1
        while len(self._relapses) > REMEMBERED:
            del self._relapses[next(iter(self._relapses))]

    def _move(self, event: SwitchEvent) -> None:
        self.state = next_switch_state(self.state, event)
