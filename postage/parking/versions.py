"""Where the old versions of edited messages are kept.

The old version of a message of ``orders.parked`` goes to the queue ``orders.parked.edited``.  It is
a message of its own there, with all its headers, so every command of
``postage dlq`` works on it: it can be shown, compared, and replayed instead of the new one.  A
header of the new version could not hold the old one, because a broker takes no header larger than a
frame, 128 KiB.  Beside the new version in the same queue, a replay of the whole queue would send
both.
"""

from __future__ import annotations

from postage.errors import ChannelRefused
from postage.green.amqp.declared_queues import declare_queue
from postage.green.handling.keeping import MAX_PARKED
from postage.green.topology import QueueDeclaration
from postage.parking.walk import arguments_of, connection_to
from postage.recoverability import parking_queue

__all__ = ["queue_of_versions"]

SUFFIX = ".edited"


def queue_of_versions(queue: str, *, url: str | None = None) -> str:
    """Return the name of the queue for old versions of messages of *queue*; switches.

    Declares the queue if it is missing: durable, of the type of *queue*, and of 64 MiB at most, as
    parking queues are.  Raises what connecting and declaring raise, such as `ChannelRefused`.
    """
    name = parking_queue(f"{{queue}}{SUFFIX}", queue)
    connection = connection_to(url, publishing=True)
    try:
        with connection.lease() as channel:
            channel.queue_counts(name)
    except ChannelRefused as exc:
        if not exc.misses(name):
            raise
        type_ = arguments_of(connection, queue).get("x-queue-type")
        kept = "quorum" if type_ == "quorum" else "classic"
        arguments = {"x-queue-type": kept, "x-max-length-bytes": MAX_PARKED}
        flags = {"durable": True, "arguments": arguments}
        declare_queue(connection, QueueDeclaration(name, name, flags))
    return name
