"""What the tests of the broker's core have in common: time by hand, and no sockets."""

from __future__ import annotations

import pytest

from postage.broker.core.clock import ManualTimers
from postage.broker.core.vhost import VHost
from postage.broker.session.node import Node
from tests.support.talk import Talk


@pytest.fixture
def timers() -> ManualTimers:
    return ManualTimers()


@pytest.fixture
def node(timers: ManualTimers) -> Node:
    return Node(timers)


@pytest.fixture
def place(node: Node) -> VHost:
    """An empty virtual host."""
    return node.vhosts["/"]


@pytest.fixture
def talk(node: Node) -> Talk:
    """A connection with nothing said yet."""
    return Talk(node)


@pytest.fixture
def client(node: Node) -> Talk:
    """An open connection with channel 1."""
    return Talk(node).open(1)
