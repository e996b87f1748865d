"""Short forms for tests of the broker's core, without connections."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from postage.broker.core.queue import BrokerQueue, QueuedMessage
from postage.broker.core.routing import BrokerBinding
from postage.broker.core.validation import validate
from postage.broker.core.vhost import VHost
from postage.broker.wire.content import PublishedMessage, encode_properties


def new_exchange(virtual_host: VHost, name: str, kind: str = "fanout", **values: Any) -> None:
    """Declare an exchange."""
    flags = {"passive": False, "durable": False, "auto_delete": False, "internal": False}
    call = {"exchange": name, "type": kind, "arguments": {}, **flags, **values}
    virtual_host.declare_exchange(SimpleNamespace(**call))


def new_queue(
    virtual_host: VHost,
    name: str,
    arguments: dict[str, Any] | None = None,
    owner: object = None,
    **flags: Any,
) -> BrokerQueue:
    """Declare a queue; *owner* makes it exclusive."""
    call = {"passive": False, "durable": True, "auto_delete": False, **flags}
    call |= {"queue": name, "exclusive": owner is not None, "arguments": arguments or {}}
    return virtual_host.declare_queue(SimpleNamespace(**call), owner)


def new_fanout_queue(
    virtual_host: VHost, name: str, arguments: dict[str, Any] | None = None
) -> BrokerQueue:
    """Declare a queue, and bind it to amq.fanout."""
    queue = new_queue(virtual_host, name, arguments)
    virtual_host.bind("amq.fanout", BrokerBinding("queue", name, ""), None)
    return queue


def message(
    body: bytes = b"m", exchange: str = "", key: str = "k", **properties: Any
) -> PublishedMessage:
    """Return a message with *properties*."""
    header = validate(encode_properties(properties), "guest")
    return PublishedMessage(exchange, key, header, body)


def publish(virtual_host: VHost, sent: PublishedMessage) -> list[str]:
    """Route *sent*; return the queues that it has reached."""
    queues = virtual_host.route(sent)
    for queue in queues:
        queue.publish(sent)
    return [queue.name for queue in queues]


def fill(queue: BrokerQueue, *bodies: bytes, **properties: Any) -> None:
    """Put messages into *queue*."""
    for body in bodies:
        queue.publish(message(body, key=queue.name, **properties))


def drain(queue: BrokerQueue) -> list[bytes]:
    """Take all messages out of *queue*; return their bodies."""
    return [entry.message.body for entry in iter(queue.get, None)]


class LimitedConsumer:
    """A consumer that takes up to *room* messages."""

    def __init__(
        self, room: int = 1000, priority: int = 0, queue: BrokerQueue | None = None
    ) -> None:
        self.room, self.priority, self.exclusive = room, priority, False
        self.queue = queue
        self.taken: list[QueuedMessage] = []
        self.is_cancelled = False

    def is_ready(self) -> bool:
        return len(self.taken) < self.room

    def deliver(self, queue: BrokerQueue, entry: QueuedMessage) -> bool:
        self.taken.append(entry)
        return False

    def cancelled(self) -> None:
        self.is_cancelled = True

    @property
    def bodies(self) -> list[bytes]:
        """The bodies of the messages that it has taken."""
        return [entry.message.body for entry in self.taken]
