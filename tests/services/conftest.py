"""Fixtures of the tests of services."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.endpoints import Endpoint
from tests.support.raw import Raw, raw_to


@pytest.fixture
def postage_url(broker_env: Any) -> str:
    """The URL of the module: another node, and a new virtual host for each test, take long."""
    return str(broker_env.url)


@pytest.fixture
def raw(broker_env: Any) -> Iterator[Raw]:
    """A connection of plain pika to the broker of the module."""
    with raw_to(broker_env.hup, broker_env.vhost) as opened:
        yield opened


@pytest.fixture
def endpoint(broker_env: Any, request: pytest.FixtureRequest) -> Endpoint:
    """An exchange and a queue that no other test of the module uses."""
    return Endpoint(re.sub(r"\W+", "-", request.node.name)[:150])
