"""The broker of these tests has a clock that tells turns of the hub apart."""

from __future__ import annotations

import pytest

from tests.broker.turns.clock import Turns


@pytest.fixture
def timers() -> Turns:
    """The clock of `node`."""
    return Turns()
