"""Connections that break on demand."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from postage import green
from postage.testing import cut_connections, wait_until
from tests.support.endpoints import Endpoint
from tests.support.recovery import GatedServer
from tests.support.running import running

pytestmark = pytest.mark.usefixtures("broker_env")


@pytest.fixture
def producer(request: pytest.FixtureRequest) -> Iterator[Any]:
    """A producer whose calls are answered, over two connections that are open."""
    endpoint = Endpoint(request.node.name)
    server = GatedServer({"name": "server"}, endpoint.eqk)
    server.gate.set()
    with running(server):
        made = endpoint.producer(max_retry=5)
        assert made.rpc_ask(1).value == 1
        yield made
    green.close()


def losses() -> dict[str, int]:
    return {each.role: each.losses for each in green.statistics()}


def test_both_connections_break_and_are_made_again(producer: Any) -> None:
    assert cut_connections() == 2
    wait_until(lambda: losses() == {"publishing": 1, "consuming": 1})

    assert producer.rpc_ask(2).value == 2


def test_one_role_is_cut_and_the_other_stays(producer: Any) -> None:
    assert cut_connections("consuming") == 1
    wait_until(lambda: losses() == {"publishing": 0, "consuming": 1})

    assert producer.rpc_ask(2).value == 2


def test_connections_to_another_port_are_not_cut(producer: Any) -> None:
    assert cut_connections(port=1) == 0
