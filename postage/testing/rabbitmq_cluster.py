"""Private RabbitMQ nodes that are one cluster, on 127.0.0.1 only."""

from __future__ import annotations

import shutil
from collections.abc import Sequence

from postage.testing.rabbitmq import RabbitMQNode

__all__ = ["join"]

CONFIGURATION = """
cluster_formation.peer_discovery_backend = classic_config
cluster_partition_handling = pause_minority
"""


def join(nodes: Sequence[RabbitMQNode]) -> None:
    """Make one cluster of *nodes*, before they start; they share epmd and the cookie.

    Start them at the same time, each from a thread of its own: a node waits for the others.  It
    blocks for the time of some small files, and no longer.
    """
    key = "cluster_formation.classic_config.nodes"
    names = [f"{key}.{number} = {node.name}\n" for number, node in enumerate(nodes, 1)]
    first = nodes[0]
    for node in nodes:
        node._epmd_port = first._epmd_port  # noqa: SLF001 - of the same package
        base = node._prepare()  # noqa: SLF001 - as above
        if node is not first:
            (base / ".erlang.cookie").unlink()
            shutil.copy(first._prepare() / ".erlang.cookie", base)  # noqa: SLF001 - as above
        with (base / "rabbitmq.conf").open("a") as file:
            file.write(CONFIGURATION + "".join(names))
