"""Fixtures of the tests that run components in greenlets of the test process."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.places import Place
from tests.support.raw import Raw, raw_to


@pytest.fixture
def raw(broker_env: Any) -> Iterator[Raw]:
    """A connection of plain pika to the broker of the module."""
    with raw_to(broker_env.hup, broker_env.vhost) as opened:
        yield opened


@pytest.fixture
def place(broker_env: Any, request: pytest.FixtureRequest) -> Place:
    """An exchange, a queue and a key that no other test of the module uses."""
    return Place(re.sub(r"\W+", "-", request.node.name)[:150])
