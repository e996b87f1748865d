"""A virtual host for each module of tests, on a node that has been started with a few."""

from __future__ import annotations

from collections import Counter
from typing import Any

from postage.testing.rabbitmq import RabbitMQNode
from tests.support.definitions import VHOSTS

AT_START, AT_ONCE = 50, 40
"""How many virtual hosts a node has from its start, and how many it gets when they are used up.

A node needs 4 seconds of processor time to start, and 8 more for 200 virtual hosts.  A process that
shares the suite with others uses a third of them, and a few chosen tests use one or two.
"""


class FreshVhosts:
    """Gives out the names of `VHOSTS` in turn, without the first, which is for tests of logins."""

    def __init__(self) -> None:
        self._taken = 1
        self._made = Counter[str]()

    def take(self, broker: Any) -> str:
        """Return a name that was not returned before, of a virtual host that *broker* has."""
        assert self._taken < len(VHOSTS), "no virtual host is left: make VHOSTS longer"
        self._taken += 1
        if isinstance(broker, RabbitMQNode):
            self._make_until(self._taken, broker)
        return VHOSTS[self._taken - 1]

    def _make_until(self, count: int, node: RabbitMQNode) -> None:
        while (made := self._made[node.name] + AT_START) < count:
            node.add_vhosts(VHOSTS[made : made + AT_ONCE])
            self._made[node.name] += AT_ONCE
