"""A RabbitMQ cluster of three nodes on 127.0.0.1."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import gevent

from postage.testing.rabbitmq import RabbitMQNode
from tests.faults.fault_env import PASSWORD, USER, FaultEnv, on_brokers
from tests.support.broker_commands import control, in_node_thread

VHOST = "clustered"
"""The only vhost: a cluster takes a second for each at its first start."""
COOKIE = secrets.token_hex(16)
CONFIGURATION = """
cluster_formation.peer_discovery_backend = classic_config
cluster_partition_handling = pause_minority
"""


class Member(RabbitMQNode):
    """One node of the cluster of *members*, to be started once; epmd and the cookie are shared."""

    def __init__(self, members: list[Member]) -> None:
        super().__init__([VHOST], {USER: (PASSWORD, [VHOST])})
        members.append(self)
        self._members = members
        self._epmd_port = members[0]._epmd_port

    def _prepare(self) -> Path:
        base = super()._prepare()
        cookie = base / ".erlang.cookie"
        cookie.chmod(0o600)
        cookie.write_text(COOKIE)
        cookie.chmod(0o400)
        key = "cluster_formation.classic_config.nodes"
        names = [f"{key}.{at} = {each.name}\n" for at, each in enumerate(self._members, 1)]
        with (base / "rabbitmq.conf").open("a") as file:
            file.write(CONFIGURATION + "".join(names))
        return base


def leader_of(env: FaultEnv, queue: str) -> Member:
    """Return the node on which the leader of a quorum *queue* is."""
    listing = env.control("list_queues", "--vhost", env.vhost, "name", "leader")
    leaders = dict(line.split("\t") for line in listing.splitlines() if "\t" in line)
    found: Member = next(each for each in env.brokers if each.name == leaders[queue])
    return found


@contextmanager
def on_cluster() -> Iterator[FaultEnv]:
    """Start three nodes, which takes about 20 s, and use them."""
    members: list[Member] = []
    try:
        for _ in range(3):
            Member(members)
        starts = [gevent.spawn(in_node_thread, member.start) for member in members]
        gevent.joinall(starts, raise_error=True)
        control(members[0], "await_online_nodes", "3")
        with on_brokers(*members, vhost=VHOST) as env:
            yield env
    finally:
        for member in reversed(members):
            member.close()
