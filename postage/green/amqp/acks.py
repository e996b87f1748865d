"""Which deliveries of a channel are settled, and how few acks say so (AMQP, basic.ack).  Pure."""

from __future__ import annotations

from collections.abc import Collection

__all__ = ["Acks"]

Ack = tuple[int, bool]
"""A delivery tag, and whether all up to it are meant (``multiple``)."""


class Acks:
    """What the consumers of a channel hold, and what they have finished since the last `flush`.

    One ack may cover many deliveries: all up to its tag that are not settled yet.  So it may be
    written only when no delivery below is still held, whichever consumer of the channel holds it.
    Handlers end in any order, so the rest is acknowledged singly.
    """

    def __init__(self) -> None:
        self._held: dict[int, str] = {}  # in the order of their tags
        self._finished: list[int] = []

    def __len__(self) -> int:
        return len(self._held)

    def came(self, tag: int, consumer: str) -> None:
        """Note that *consumer* holds the delivery *tag* from now on."""
        self._held[tag] = consumer

    def finish(self, tag: int) -> bool:
        """Have *tag* acknowledged at the next `flush`; False where it is not held any more."""
        if self._held.pop(tag, None) is None:
            return False
        self._finished.append(tag)
        return True

    def drop(self, tag: int) -> bool:
        """Forget *tag*, which is rejected now; False where it is not held any more."""
        return self._held.pop(tag, None) is not None

    def held_by(self, consumers: Collection[str]) -> list[int]:
        """Return the tags of what *consumers* hold."""
        return [tag for tag, consumer in self._held.items() if consumer in consumers]

    def flush(self) -> list[Ack]:
        """Return the acks to write for all that is finished."""
        finished, self._finished = self._finished, []
        if len(finished) == 1:
            return [(finished[0], False)]
        lowest = next(iter(self._held), None)
        below = [tag for tag in finished if lowest is None or tag < lowest]
        acks = [(tag, False) for tag in finished if lowest is not None and tag > lowest]
        if below:
            acks.insert(0, (max(below), len(below) > 1))
        return acks

    def abandon(self) -> int:
        """Forget all: the channel is gone.  Return how many acks can no more be written."""
        unwritten = len(self._finished)
        self._held.clear()
        self._finished.clear()
        return unwritten
