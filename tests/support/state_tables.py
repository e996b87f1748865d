"""The test that every state machine has: each state with each event."""

from __future__ import annotations

import copy
import enum
from collections.abc import Callable, Mapping
from typing import Any

import pytest

__all__ = ["check_move"]

Move = tuple[enum.Enum, enum.Enum]


def check_move(
    next_state: Callable[..., enum.Enum], table: Any, legal: Mapping[Any, enum.Enum], move: Move
) -> None:
    """Assert that *next_state* makes *move*, a state and an event, if it is *legal*.

    Otherwise *next_state* must raise an error that names both, and leave *table* as it is.
    """
    if move in legal:
        assert next_state(*move) is legal[move]
        return
    state, event = move
    before = copy.deepcopy(table)
    with pytest.raises(AssertionError, match=f"{event.name} .* {state.name}"):
        next_state(state, event)
    assert before == table
