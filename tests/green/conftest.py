"""Fixtures of the tests that run components in greenlets of the test process."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from postage import green, messaging
from tests.support.endpoints import Endpoint, exchange
from tests.support.proxy import Proxy
from tests.support.raw import Raw, listen, raw_to


@pytest.fixture
def raw(broker_env: Any) -> Iterator[Raw]:
    """A connection of plain pika to the broker of the module."""
    with raw_to(broker_env.hup, broker_env.vhost) as opened:
        yield opened


@pytest.fixture
def endpoint(broker_env: Any, request: pytest.FixtureRequest) -> Endpoint:
    """An exchange, a queue and a key that no other test of the module uses."""
    return Endpoint(re.sub(r"\W+", "-", request.node.name)[:150])


@pytest.fixture
def proxy(broker_env: Any) -> Iterator[Proxy]:
    """The network between the broker and those components that a test leads through it."""
    with Proxy(broker_env.port) as opened:
        yield opened
        green.close(1.0)


@pytest.fixture
def hup(proxy: Proxy, broker_env: Any) -> dict[str, Any]:
    """The way to the broker that leads through `proxy`."""
    return {**broker_env.hup, "port": proxy.port}


@pytest.fixture
def queue(raw: Raw, endpoint: Endpoint) -> str:
    """A queue that gets what is sent to `endpoint` by the keys ``rk`` and ``other``."""
    return listen(raw, endpoint.exchange, "rk", "other")


@pytest.fixture
def second(raw: Raw, endpoint: Endpoint) -> tuple[type[messaging.Exchange], str]:
    """A second exchange, and the queue that gets what is sent to it by the key ``rk2``."""
    made = exchange(endpoint.sub("second"))
    return made, listen(raw, made, "rk2")
