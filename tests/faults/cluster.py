"""Three RabbitMQ nodes of one cluster, on 127.0.0.1, each with a directory and ports of its own."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import gevent

from postage.testing.rabbitmq import RabbitMQNode
from tests.faults.attendant import Attendant
from tests.faults.login import PASSWORD, USER
from tests.faults.proxy import Proxy
from tests.faults.scene import Scene, led
from tests.support.broker_commands import control

VHOST = "clustered"
"""One: each takes a cluster a second at its first start."""
MEMBERS = """
cluster_formation.peer_discovery_backend = classic_config
cluster_partition_handling = pause_minority
"""


class Member(RabbitMQNode):
    """One node of a cluster: it shares epmd and cookie with the others, and knows their names."""

    def __init__(self, cookie: str) -> None:
        super().__init__([VHOST], {USER: (PASSWORD, [VHOST])})
        self._attendant = Attendant()
        self._cookie = cookie
        self._others: list[str] = []

    def begin(self) -> None:
        """Start, while others do; switches."""
        self._attendant.run(self.start)

    def meet(self, members: list[Member]) -> None:
        """Learn who belongs to the cluster; call it before `start`."""
        self._epmd_port = members[0]._epmd_port
        self._others = [member.name for member in members]

    def _prepare(self) -> Path:
        is_new = self.base is None
        base = super()._prepare()
        if is_new:
            cookie = base / ".erlang.cookie"
            cookie.unlink()
            cookie.write_text(self._cookie)
            cookie.chmod(0o400)
            key = "cluster_formation.classic_config.nodes"
            names = [f"{key}.{number} = {name}\n" for number, name in enumerate(self._others, 1)]
            with (base / "rabbitmq.conf").open("a") as conf:
                conf.write(MEMBERS + "".join(names))
        return base


class ClusterScene(Scene):
    """The scene on a cluster; components know the addresses of all its nodes."""

    def __init__(self, proxies: list[Proxy], vhost: str, members: list[Member]) -> None:
        super().__init__(proxies[0], vhost, node=members[0])
        self.members = members
        self._proxies = proxies

    @property
    def ports(self) -> tuple[int, ...]:
        """Those of the proxies."""
        return tuple(proxy.port for proxy in self._proxies)

    def leader_of(self, queue: str) -> Member:
        """Return the node where the leader of a quorum *queue* lives."""
        listing = self.control("list_queues", "--vhost", self.vhost, "name", "leader")
        leaders = dict(line.split("\t") for line in listing.splitlines() if "\t" in line)
        (found,) = [member for member in self.members if member.name == leaders[queue]]
        return found


@contextmanager
def cluster() -> Iterator[list[Member]]:
    """Start three nodes; they are one cluster when this returns, in about 20 s."""
    cookie = secrets.token_hex(16)
    members = [Member(cookie) for _ in range(3)]
    try:
        for member in members:
            member.meet(members)
        starts = [gevent.spawn(member.begin) for member in members]
        gevent.joinall(starts, raise_error=True)
        control(members[0], "await_online_nodes", "3")
        yield members
    finally:
        for member in reversed(members):
            member.close()


@contextmanager
def on_cluster(members: list[Member]) -> Iterator[ClusterScene]:
    """Set the scene on a cluster."""
    proxies = [Proxy(member.port) for member in members]
    try:
        with led(ClusterScene(proxies, VHOST, members)) as scene:
            yield scene
    finally:
        for proxy in proxies:
            proxy.close()
