"""A RabbitMQ cluster of three nodes on 127.0.0.1."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import gevent

from postage.testing.rabbitmq import RabbitMQNode
from tests.faults.fault_env import FaultEnv, node_for, on_brokers
from tests.support.broker_commands import control, in_node_thread

VHOST = "clustered"
"""The only vhost: a cluster takes a second for each at its first start."""
CONFIGURATION = """
cluster_formation.peer_discovery_backend = classic_config
cluster_partition_handling = pause_minority
"""


def join(nodes: list[RabbitMQNode]) -> None:
    """Make one cluster of *nodes*, before they start; they share epmd and the cookie."""
    key = "cluster_formation.classic_config.nodes"
    names = [f"{key}.{number} = {node.name}\n" for number, node in enumerate(nodes, 1)]
    for node in nodes:
        node._epmd_port = nodes[0]._epmd_port
        base = node._prepare()
        if node is not nodes[0]:
            (base / ".erlang.cookie").unlink()
            shutil.copy(nodes[0]._prepare() / ".erlang.cookie", base)
        with (base / "rabbitmq.conf").open("a") as file:
            file.write(CONFIGURATION + "".join(names))


def leader_of(env: FaultEnv, queue: str) -> RabbitMQNode:
    """Return the node on which the leader of a quorum *queue* is."""
    listing = env.control("list_queues", "--vhost", env.vhost, "name", "leader")
    leaders = dict(line.split("\t") for line in listing.splitlines() if "\t" in line)
    found: RabbitMQNode = next(node for node in env.brokers if node.name == leaders[queue])
    return found


@contextmanager
def on_cluster() -> Iterator[FaultEnv]:
    """Start three nodes, which takes about 20 s, and use them."""
    with ExitStack() as stack:
        nodes = [node_for(VHOST) for _ in range(3)]
        for node in nodes:
            stack.callback(node.close)
        join(nodes)
        starts = [gevent.spawn(in_node_thread, node.start) for node in nodes]
        gevent.joinall(starts, raise_error=True)
        control(nodes[0], "await_online_nodes", "3")
        yield stack.enter_context(on_brokers(*nodes, vhost=VHOST))
