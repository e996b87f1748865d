"""Fixtures for tests of the broker without sockets, with a clock that the test turns."""

from __future__ import annotations

import pytest

from postage.broker.core.clock import ManualTimers
from postage.broker.core.vhost import VHost
from postage.broker.session.node import Node
from tests.support.frame_client import FrameClient


@pytest.fixture
def timers() -> ManualTimers:
    return ManualTimers()


@pytest.fixture
def node(timers: ManualTimers) -> Node:
    return Node(timers)


@pytest.fixture
def virtual_host(node: Node) -> VHost:
    """An empty virtual host."""
    return node.vhosts["/"]


@pytest.fixture
def new_client(node: Node) -> FrameClient:
    """A connection before the handshake."""
    return FrameClient(node)


@pytest.fixture
def client(node: Node) -> FrameClient:
    """An open connection with channel 1."""
    return FrameClient(node).open(1)
