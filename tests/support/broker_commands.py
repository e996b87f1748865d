"""What rabbitmqctl does to a node, while the greenlets of the test go on."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import gevent
from gevent.threadpool import ThreadPool

from postage.testing.rabbitmq import RabbitMQNode

T = TypeVar("T")


@functools.cache
def _node_threads() -> ThreadPool:
    return ThreadPool(3)


def in_node_thread(function: Callable[..., T], *args: Any) -> T:
    """Run *function* in a native thread that lasts as long as the process; switches to the hub.

    The kernel kills a RabbitMQ node when the *thread* that started it ends, and the threads of the
    hub's own pool may end at any time.
    """
    result: T = _node_threads().apply(function, args)
    return result


def control(node: RabbitMQNode, *args: str) -> str:
    """Run ``rabbitmqctl`` with *args* in a native thread; switches to the hub for over a second."""
    output: str = gevent.get_hub().threadpool.apply(node.ctl, args, {"within": 120.0})
    return output


def close_connections(node: RabbitMQNode, vhost: str) -> None:
    """Have the broker close every connection to *vhost*."""
    control(node, "close_all_connections", "--vhost", vhost, "a test wants to see it")


def close_connection(node: RabbitMQNode, vhost: str, role: str) -> None:
    """Have the broker close our connection to *vhost* that publishes, or the one that consumes."""
    # Not as JSON: there the broker's process ids are written as no command takes them.
    listing = control(node, "list_connections", "pid", "vhost", "client_properties")
    rows = [line.split("\t") for line in listing.splitlines()]
    (found,) = [row[0] for row in rows if row[1] == vhost and f' {role}"' in row[2]]
    control(node, "close_connection", found, "a test wants to see it")


def connections_of(node: RabbitMQNode, pid: int) -> list[str]:
    """Return the names that the connections of the process *pid* have given themselves."""
    rows: list[dict[str, Any]] = gevent.get_hub().threadpool.apply(
        node.connections, ("client_properties",)
    )
    names = [name for row in rows if (name := _name(row["client_properties"]))]
    return sorted(name for name in names if name.split()[1:2] == [str(pid)])


def _name(properties: Any) -> str:
    """Return the connection name; rabbitmqctl prints the table as an object or as a list."""
    if isinstance(properties, dict):
        return str(properties.get("connection_name", ""))
    return next((str(entry[-1]) for entry in properties if entry[0] == "connection_name"), "")
