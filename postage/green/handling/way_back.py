"""The way of delayed messages from the delay queues back to their own queues.

How it works
------------
RabbitMQ hands on at most 32 messages of a delay queue at a time, and keeps those that it cannot
hand on.  All processors of a virtual host share the delay queues, so 32 messages for a queue that
was deleted would hold up the messages of all other queues.

Therefore what has waited goes to the exchange `Due`, to which each queue is bound by its own name.
What is for a queue that is not bound takes a side way: the alternate exchange of `Due` leads to the
queue `UNBOUND`.  That queue hands on at once, by the default exchange, and waits for a queue that
does not exist.  So the messages for deleted queues hold up only each other.

A binding is never necessary, only quicker, so nothing depends on it: a queue may be declared again
without its binding, its user may have no right to bind it, and RabbitMQ 3.10 removes the bindings
of a queue whose node has stopped.  Its messages come by the side way then.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from postage.exchange import Exchange
from postage.green.amqp.connection import Connection
from postage.green.amqp.declared_queues import declare_queue
from postage.green.topology import QueueDeclaration
from postage.recoverability import DUE

__all__ = ["UNBOUND", "Due", "bind_to_due", "declare_way_back", "handing_on"]

UNBOUND = "postage.delay.unbound"
"""The queue for what is due, and whose own queue is not bound to `Due`."""


class _Unbound(Exchange):
    """Leads to the queue `UNBOUND`; an alternate exchange cannot be a queue itself."""

    name = UNBOUND
    exchange_type = "fanout"


class Due(Exchange):
    """Gets what has waited in a delay queue, and leads to the queue that the routing key names."""

    name = DUE
    arguments: ClassVar[Mapping[str, Any]] = {"alternate-exchange": UNBOUND}


def handing_on(milliseconds: int, exchange: type[Exchange] | None) -> dict[str, Any]:
    """Return the arguments of a queue that sends each message on after so many *milliseconds*.

    The message goes to *exchange*; None: to the default exchange.
    """
    return {
        "x-queue-type": "quorum",
        "x-message-ttl": milliseconds,
        "x-dead-letter-exchange": exchange.name if exchange else "",
        "x-dead-letter-strategy": "at-least-once",
        "x-overflow": "reject-publish",  # which that strategy needs
    }


def declare_way_back(connection: Connection) -> None:
    """Declare what is behind the delay queues; switches, and raises what `declare_queue` does."""
    for exchange in (_Unbound, Due):  # somebody may have deleted them since
        connection.discard_declaration(exchange)
    queue = QueueDeclaration(UNBOUND, UNBOUND, {"durable": True, "arguments": handing_on(0, None)})
    queue.bindings[_Unbound, ""] = None
    declare_queue(connection, queue)
    connection.declare(Due)


def bind_to_due(connection: Connection, queue: str) -> None:
    """Bind *queue* to `Due`, which is declared before; switches, and raises what `Channel` does."""
    declare_way_back(connection)
    with connection.lease() as channel:
        channel.queue_bind(queue, Due.name, queue)
