"""The budget of bytes in hand: who must take less, and who may take more."""

from __future__ import annotations

import itertools
import json
import tracemalloc
from collections.abc import Callable

import hypothesis.stateful
import pytest
from hypothesis import strategies as st

from postage.budget import (
    FULL,
    WINDOW_MOVES,
    Holding,
    WindowEvent,
    WindowState,
    next_window_state,
    step,
    too_heavy,
    weight,
    wider,
)
from postage.values import MAX_SHORT_INT
from tests.support.state_tables import check_move

LIMIT = 1 << 20
HEAVY = LIMIT // 3

BODIES: dict[str, Callable[[], bytes]] = {
    "objects": lambda: b"[" + b"{}," * 20_000 + b"0]",
    "arrays": lambda: b"[" + b"[]," * 20_000 + b"0]",
    "nested arrays": lambda: b"[" + (b"[" * 500 + b"]" * 500 + b",") * 40 + b"0]",
    "nested objects": lambda: b"[" + (b'{"":' * 500 + b"0" + b"}" * 500 + b",") * 20 + b"0]",
    "members": lambda: b"{" + b",".join(b'"%d":0' % n for n in range(10_000)) + b"}",
    "texts": lambda: b"[" + b'"ab",' * 20_000 + b"0]",
    "floats": lambda: b"[" + b"1e1," * 20_000 + b"0]",
    "a wide text": lambda: b'["' + b"x" * 100_000 + "😀".encode() + b'"]',
}


@pytest.mark.parametrize("kind", BODIES)
def test_no_body_takes_much_more_than_it_weighs(kind: str) -> None:
    body = BODIES[kind]()
    tracemalloc.start()
    try:
        decoded = json.loads(body)
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert decoded
    assert taken + len(body) < 1.1 * weight(body)


def test_an_ordinary_body_weighs_about_what_it_takes() -> None:
    assert weight(b'["' + b"x" * 10_000 + b'"]') < 30_000


def test_below_the_limit_nobody_must_take_less() -> None:
    assert not too_heavy({"a": Holding(0, 0, 700_000)}, 700_000, LIMIT)


def test_the_heavy_must_take_less_and_the_light_need_not() -> None:
    held = {"fat": Holding(250, 250, 900_000), "thin": Holding(250, 250, 10_000)}
    assert too_heavy(held, 910_000, LIMIT) == ["fat"]


def test_a_fat_consumer_that_takes_one_at_a_time_is_passed_over() -> None:
    held = {"fat": Holding(1, 250, 900_000), "thin": Holding(250, 250, 10_000)}
    assert too_heavy(held, 910_000, LIMIT) == ["thin"]


def test_a_window_grows_as_far_as_its_heaviest_message_allows() -> None:
    assert wider({"a": Holding(1, 250, 0, 100_000)}, 0, LIMIT) == {"a": 7}
    assert wider({"a": Holding(1, 250, 0, LIMIT)}, 0, LIMIT) == {}
    assert wider({"a": Holding(8, 10, 0, 100)}, 0, LIMIT) == {"a": 10}
    assert wider({"a": Holding(10, 10, 0, 100), "b": Holding(0, 0)}, 0, LIMIT) == {}


class Intake(hypothesis.stateful.RuleBasedStateMachine):
    """Consumers of a broker that always has messages, as many as the windows allow."""

    def __init__(self) -> None:
        super().__init__()
        self.full = [0, 250, 3]
        self.windows = list(self.full)
        self.held: list[list[int]] = [[] for _ in self.full]
        self.arrived = 0

    def total(self) -> int:
        return sum(map(sum, self.held))

    def holdings(self) -> dict[int, Holding]:
        return {
            n: Holding(self.windows[n], full, sum(self.held[n]), max(self.held[n], default=0))
            for n, full in enumerate(self.full)
        }

    @hypothesis.stateful.rule(number=st.integers(0, 2), size=st.integers(1, HEAVY))
    def arrive(self, number: int, size: int) -> None:
        held, window = self.held[number], self.windows[number]
        if window and len(held) >= window:
            return
        held.append(size)
        self.arrived += size
        if self.arrived > step(LIMIT):
            self.arrived = 0
            for key in too_heavy(self.holdings(), self.total(), LIMIT):
                self.windows[key] = 1

    @hypothesis.stateful.rule(number=st.integers(0, 2))
    def settle(self, number: int) -> None:
        if self.held[number]:
            self.held[number].pop(0)

    @hypothesis.stateful.rule()
    def grow(self) -> None:
        grown = wider(self.holdings(), self.total(), LIMIT)
        added = sum(size * max(self.held[key], default=0) for key, size in grown.items())
        assert not grown or self.total() + added <= FULL * LIMIT
        for key, size in grown.items():
            assert self.windows[key] < size <= (self.full[key] or MAX_SHORT_INT)
            self.windows[key] = size

    @hypothesis.stateful.invariant()
    def the_excess_is_bounded(self) -> None:
        # Each look above the limit narrows a window; a narrow one takes one message.
        assert self.total() <= FULL * LIMIT + step(LIMIT) + HEAVY * (len(self.full) + 1)

    @hypothesis.stateful.invariant()
    def no_window_is_closed(self) -> None:
        assert all(window or not full for window, full in zip(self.windows, self.full, strict=True))

    def teardown(self) -> None:
        """When all is settled, the windows become as wide as they can be."""
        self.held = [[] for _ in self.full]
        for _ in range(8):
            self.grow()
        unlimited, *others = self.windows
        assert others == [250, 3]
        assert unlimited == 0 or unlimited > 250


TestIntake = Intake.TestCase

STATE, EVENT = WindowState, WindowEvent

LEGAL = {
    (STATE.OPEN, EVENT.CHANGE): STATE.CHANGING,
    (STATE.OPEN, EVENT.END): STATE.ENDED,
    (STATE.CHANGING, EVENT.CHANGED): STATE.OPEN,
    (STATE.CHANGING, EVENT.END): STATE.ENDED,
    (STATE.ENDED, EVENT.CHANGED): STATE.ENDED,
    (STATE.ENDED, EVENT.END): STATE.ENDED,
}


@pytest.mark.parametrize("move", list(itertools.product(STATE, EVENT)))
def test_a_window_moves_only_as_it_may(move: tuple[WindowState, WindowEvent]) -> None:
    check_move(next_window_state, WINDOW_MOVES, LEGAL, move)
