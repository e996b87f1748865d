"""Two queues for each test: one whose messages failed, and its parking queue."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.parking.places import Places
from tests.support.raw import Raw, raw_to


@pytest.fixture
def raw(broker_env: Any) -> Iterator[Raw]:
    """A connection of plain pika to the broker of the module."""
    with raw_to(broker_env.hup, broker_env.vhost) as opened:
        yield opened


@pytest.fixture(params=["classic", "quorum"])
def places(raw: Raw, request: pytest.FixtureRequest) -> Places:
    """The two queues, of both types."""
    return Places(raw, re.sub(r"\W+", "-", request.node.name)[:150], request.param)
