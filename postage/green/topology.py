"""What a consumer has declared, in order, so that it can be declared anew.  Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from postage.errors import ChannelRefused, PostageError, TopologyMismatch
from postage.exchange import Exchange

__all__ = ["QueueDeclaration", "Topology", "may_pass"]

ACCESS_REFUSED, NOT_FOUND, PRECONDITION_FAILED, NOT_ALLOWED = 403, 404, 406, 530


@dataclass(eq=False, slots=True)
class QueueDeclaration:
    """One queue that a consumer listens to, with what binds it."""

    name: str
    """As the broker knows it now; the broker chooses the names of nameless ones."""
    asked: str
    """The name that it is declared by; empty where the broker shall choose."""
    flags: dict[str, Any]
    bindings: dict[tuple[type[Exchange], str], None] = field(default_factory=dict)
    """Exchanges and keys, each once, in the order in which they were bound."""
    home: object = None
    """The connection on which it was declared; where that is another one, it must be again."""

    tag: str = ""
    """Of the consumer that it had last."""
    was_cancelled: bool = False
    """The broker has ended its consumer, and there is no other one yet."""

    @property
    def passive(self) -> bool:
        """Whether it is used as it is, so that declaring it makes nothing."""
        return bool(self.flags.get("passive"))


class Topology:
    """The queues of one consumer, each with its flags and bindings, in the order of declaration."""

    __slots__ = ("_named", "_queues")

    def __init__(self) -> None:
        self._queues: dict[QueueDeclaration, None] = {}
        self._named: dict[str, QueueDeclaration] = {}  # not those that the broker names

    def __iter__(self) -> Iterator[QueueDeclaration]:
        """Iterate over the queues; they may change meanwhile."""
        return iter([*self._queues])

    def __contains__(self, queue: object) -> bool:
        return queue in self._queues

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """The queues and keys that are bound."""
        return [(queue.name, key) for queue in self for _, key in queue.bindings]

    def get(self, name: str) -> QueueDeclaration | None:
        """Return the queue of that name, if it is known."""
        if name in self._named or len(self._named) == len(self._queues):
            return self._named.get(name)
        nameless = (queue for queue in self._queues if not queue.asked)
        return next((queue for queue in nameless if queue.name == name), None)

    def note(self, declared: QueueDeclaration) -> QueueDeclaration:
        """Take in what was declared and bound; return the queue, which may be known already.

        Who first used a queue as it is, and declares it later, declares it from then on.
        """
        known = self.get(declared.name)
        if known is None:
            self._queues[declared] = None
            if declared.asked:
                self._named[declared.asked] = declared
            return declared
        if known.passive and not declared.passive:
            known.flags = declared.flags
        known.bindings |= declared.bindings
        return known

    def unbind(self, exchange: type[Exchange], name: str, key: str) -> None:
        """Forget one binding; the queue stays."""
        queue = self.get(name)
        if queue is not None:
            queue.bindings.pop((exchange, key), None)

    def leave(self, name: str) -> QueueDeclaration | None:
        """Forget the queue *name* and its bindings; return it, if it was known."""
        queue = self.get(name)
        if queue is not None:
            del self._queues[queue]
            self._named.pop(queue.asked, None)
        return queue


def may_pass(error: PostageError, queue: QueueDeclaration) -> bool:
    """Tell whether *queue* may be had later, although *error* has refused it just now.

    What another owner holds (405) is let go some day, and a queue whose node is down (404) comes
    back; what we may not do, or what is there but otherwise, stays so.
    """
    if not isinstance(error, ChannelRefused):
        return True
    if error.code == NOT_FOUND:
        return not _misses_what_we_do_not_make(error, queue)
    is_final = error.code in (ACCESS_REFUSED, PRECONDITION_FAILED, NOT_ALLOWED)
    return not (is_final or isinstance(error, TopologyMismatch))


def _misses_what_we_do_not_make(error: ChannelRefused, queue: QueueDeclaration) -> bool:
    """Tell whether it is gone, and declaring it does not make it."""
    made_by_others = [("queue", queue.name)] if queue.passive else []
    made_by_others += [("exchange", each.name) for each, _ in queue.bindings if each.passive]
    return any(f"no {kind} '{name}'" in error.text for kind, name in made_by_others)
