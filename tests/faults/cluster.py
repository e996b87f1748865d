"""A RabbitMQ cluster of three nodes on 127.0.0.1."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import gevent

from postage.testing.rabbitmq import RabbitMQNode
from tests.faults.fault_env import PASSWORD, USER, FaultEnv
from tests.support.broker_commands import control, in_node_thread
from tests.support.proxy import Proxy

VHOST = "clustered"
"""The only vhost: a cluster takes a second for each at its first start."""
CONFIGURATION = """
cluster_formation.peer_discovery_backend = classic_config
cluster_partition_handling = pause_minority
"""


class Member(RabbitMQNode):
    """One node of a cluster; it shares epmd and the cookie with the others."""

    def __init__(self, cookie: str) -> None:
        super().__init__([VHOST], {USER: (PASSWORD, [VHOST])})
        self._cookie = cookie
        self._names: list[str] = []

    def join(self, members: list[Member]) -> None:
        """Make the node a member of the cluster of *members*; call it before `start`."""
        self._epmd_port = members[0]._epmd_port
        self._names = [member.name for member in members]

    def _prepare(self) -> Path:
        is_new = self.base is None
        base = super()._prepare()
        if is_new:
            cookie = base / ".erlang.cookie"
            cookie.unlink()
            cookie.write_text(self._cookie)
            cookie.chmod(0o400)
            key = "cluster_formation.classic_config.nodes"
            names = [f"{key}.{number} = {name}\n" for number, name in enumerate(self._names, 1)]
            with (base / "rabbitmq.conf").open("a") as file:
                file.write(CONFIGURATION + "".join(names))
        return base


class ClusterEnv(FaultEnv):
    """The environment on a cluster: components know the addresses of all nodes."""

    def __init__(self, members: list[Member]) -> None:
        super().__init__([Proxy(each.port) for each in members], VHOST, node=members[0])
        self._members = members

    def leader_of(self, queue: str) -> Member:
        """Return the node on which the leader of a quorum *queue* is."""
        listing = self.control("list_queues", "--vhost", self.vhost, "name", "leader")
        leaders = dict(line.split("\t") for line in listing.splitlines() if "\t" in line)
        (found,) = [member for member in self._members if member.name == leaders[queue]]
        return found


@contextmanager
def on_cluster() -> Iterator[ClusterEnv]:
    """Start three nodes, which takes about 20 s, and use them."""
    cookie = secrets.token_hex(16)
    members = [Member(cookie) for _ in range(3)]
    try:
        for member in members:
            member.join(members)
        starts = [gevent.spawn(in_node_thread, member.start) for member in members]
        gevent.joinall(starts, raise_error=True)
        control(members[0], "await_online_nodes", "3")
        env = ClusterEnv(members)
        with env.entered():
            yield env
    finally:
        for member in reversed(members):
            member.close()
