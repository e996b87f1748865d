"""A message's place in one queue."""

from __future__ import annotations

from postage.broker.wire.content import Message, address_parts

__all__ = ["Entry"]


class Entry:
    """A message in a queue, flat: there may be a million of them.

    Several queues share the bytes of *address*, *header* and *body*, and nothing else.
    """

    __slots__ = (
        "address",
        "body",
        "deliveries",
        "expires_at",
        "header",
        "more_keys",
        "priority",
        "seq",
    )

    OVERHEAD = 200
    """Bytes that a queued message costs besides its header and body, about."""

    def __init__(  # noqa: PLR0913 - what a queue must know, and no object more for it
        self,
        address: bytes,
        header: bytes,
        body: bytes,
        priority: int = 0,
        expires_at: float | None = None,
        more_keys: tuple[str, ...] = (),
    ) -> None:
        self.address, self.header, self.body = address, header, body
        self.priority, self.expires_at, self.more_keys = priority, expires_at, more_keys
        self.deliveries = 0
        """How often it has left the queue to be delivered."""
        self.seq = 0
        """Its place among those that have, by which it finds back; see `Queue.requeue`."""

    @property
    def redelivered(self) -> bool:
        """Whether somebody may have seen it before, now that it is out of the queue."""
        return self.deliveries > 1

    @property
    def size(self) -> int:
        """Bytes of memory, about."""
        return self.OVERHEAD + len(self.header) + len(self.body)

    @property
    def message(self) -> Message:
        """What was published."""
        message = Message(*address_parts(self.address), self.header, self.body)
        message.more_keys = self.more_keys
        return message
