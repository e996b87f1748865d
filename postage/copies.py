"""Recognises copies of messages that this process handles, or has handled.  Pure.

How it works
------------
The broker may have a message twice, or deliver it twice:

* **Sent again.**  A publisher sends a message again if it does not know whether each queue has it,
  such as after a nack.  RabbitMQ 4.1 and later answer with a nack if a queue ends at that moment,
  so all other queues get a copy.  The publisher *marks* the copy: its property ``type`` is `AGAIN`.
* **Delivered again.**  A handler takes longer than the consumer timeout.  The broker then ends the
  channel (RabbitMQ 3) or the consumer (4.3): it *withdraws* the message, and delivers it again
  while the handler still runs, or after the handler has ended.

Neither can be told from another message by its id alone, because programs may give many messages
the same one.  So only marked deliveries and redelivered ones are compared, and

* a marked one is a copy of a delivery with its id that came from the same queue, by the same
  exchange and key, and was acknowledged or rejected for good.  The last `KEPT` of these are known.
  What is kept of a delivery is the end of its header as it came, because that costs least; the ids
  in it are sought when the next marked delivery comes.  Postage gives each message an id of its
  own, so a forged mark harms nobody but its forger.  If a program has given the ``message_id``,
  Postage's id is not at the end of the header, so such a copy is known only while the first one is
  handled.
* a redelivered one is a copy of a delivery that was withdrawn, and then handled.  Each of these is
  the reason for one copy only.  So of many equal messages, as many are handled as there are.
* a copy of a delivery whose handler still runs is put off until this handler has ended.  This also
  holds for any redelivered one with its id: it may be here before the news that the delivery was
  withdrawn.  One copy waits for each delivery.  A second copy waits, too, if the first copy was
  withdrawn, or has waited so long (`SHORTEST_TIMEOUT`) that the broker may have withdrawn it.

A delivery that was returned to its queue, or withdrawn before its handler failed, leaves nothing,
so its copy is handled.  A message that was dead-lettered (``x-death``) is no copy: a queue for
retries, or a person, has sent it once more on purpose.

What is redelivered after a lost connection or channel is handled again at once.  A handler that
still runs may hang for the same reason, and the message shall not wait for that.
"""

from __future__ import annotations

import re
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Any, Protocol

from postage.errors import MalformedMessage
from postage.in_progress import InProgress
from postage.protocol import PROPERTY_FLAGS

__all__ = [
    "AGAIN",
    "HEADER_END",
    "SHORTEST_TIMEOUT",
    "TYPED",
    "CopiedDelivery",
    "Copies",
    "Identity",
    "identity_of",
]

AGAIN = "postage.again"
"""The property ``type`` of a message or reply that is sent again."""
TYPED = PROPERTY_FLAGS["type"]
"""The bit for ``type`` in the second byte of a header: a quick test for what may be marked."""
KEPT = 10_000
"""The deliveries that are known after their end, of all queues together: about 2 MB as they came,
and as much by their ids.  A publisher pauses a second at most before it sends again, in which a
process handles hardly more."""
SHORTEST_TIMEOUT = 5.0
"""Seconds of the shortest consumer timeout that is thought of."""
HEADER_END = slice(-96, None)
"""The end of a header, which is kept: it has the message id.  A header can be large, and decoding
each one would cost too much, as would making this slice for each."""

_IDS = re.compile(rb"\x20[0-9a-f]{32}")
"""The ids that Postage gives (`Pair.new_id`), with their length before them."""
_MARK = bytes((len(AGAIN),)) + AGAIN.encode()
_DEATH = b"\x07x-death"

Identity = tuple[str, str, str, bytes]
"""The queue, the exchange, the key and the end of the header of a delivery, or its id."""


class CopiedDelivery(Protocol):
    """What must be known of a delivery."""

    channel: Any
    """Has the attributes ``alive`` and ``withdrawn``."""
    origin: str
    """The name of its queue."""
    exchange: str
    routing_key: str
    header: bytes
    """The properties as they came."""
    redelivered: bool
    received: float
    """When it arrived, in seconds."""
    copy: Any
    """The delivery that waits for the end of this one; not set: there is none."""

    @property
    def body(self) -> bytes:
        """May raise `MalformedMessage`."""

    @property
    def properties(self) -> Any:
        """Has ``send_id`` and ``correlation_id``; may raise `MalformedMessage`."""


def identity_of(delivery: CopiedDelivery) -> Identity:
    """Return what is kept of *delivery* after its end, to recognise a copy."""
    return (*_address(delivery), delivery.header[HEADER_END])


class Copies:
    """What one hub has handled of late, and what its components are handling."""

    def __init__(self, kept: int = KEPT) -> None:
        self._settled: deque[Identity] = deque(maxlen=kept)
        self.note: Callable[[Identity], object] = self._settled.append
        """Takes the identity of a delivery that is acknowledged, or rejected for good."""
        self._by_id: dict[Identity, None] = {}  # what was in `_settled`, by its ids
        self._kept, self._size = kept, 0
        self._unsettled: OrderedDict[int, int] = OrderedDict()
        self.in_progress = InProgress(_sought_by)
        """What the handlers of all components are handling."""

    def leave(self, delivery: CopiedDelivery) -> None:
        """Note that *delivery* was handled; called if it could not be acknowledged."""
        id_ = _id_of(delivery)
        if id_ is None or not delivery.channel.withdrawn:
            return  # without an id it cannot be told from others
        self.note(identity_of(delivery))
        key = _key(delivery, id_)
        self._unsettled[key] = self._unsettled.pop(key, 0) + 1
        self._size += 1
        if self._size > self._kept:
            self._take(next(iter(self._unsettled)))

    def take(self, delivery: CopiedDelivery) -> bool:
        """Return whether the message of *delivery* was handled before, and needs no handler.

        Call this once for each delivery that is redelivered, or `TYPED`.
        """
        is_marked = _is_marked(delivery)
        id_ = _id_of(delivery) if is_marked or delivery.redelivered else None
        if id_ is None:
            return False
        if delivery.redelivered and self._take(_key(delivery, id_)):
            return True
        return is_marked and self._is_settled((*_address(delivery), id_))

    def put_off(self, delivery: CopiedDelivery, resume: Callable[[], object]) -> bool:
        """Call *resume* later if the message of *delivery* is being handled; return whether it is.

        *resume* is called in the hub, when the handlers have ended.
        """
        is_marked = _is_marked(delivery)
        if not (is_marked or delivery.redelivered):
            return False
        has_id = _id_of(delivery) is not None
        for worker in self.in_progress.find(_sought_by(delivery)):
            running = worker.item
            if running is not delivery and (
                (is_marked and has_id) or _comes_again(delivery, running, has_id=has_id)
            ):
                worker.rawlink(lambda _worker: resume())
                return True
        return False

    def _is_settled(self, identity: Identity) -> bool:
        """Tell whether *identity*, with an id, is settled; note the ids of what was settled since.

        Of a header only the end is known here, so each id that stands there is noted.
        """
        known = self._by_id
        while self._settled:
            *address, end = self._settled.popleft()
            known.update(((*address, id_), None) for id_ in _IDS.findall(end))
        while len(known) > self._kept:
            del known[next(iter(known))]
        return identity in known

    def _take(self, key: int) -> bool:
        count = self._unsettled.pop(key, 0)
        if count > 1:
            self._unsettled[key] = count - 1
        self._size -= count > 0
        return count > 0


def _comes_again(copy: CopiedDelivery, running: CopiedDelivery, *, has_id: bool) -> bool:
    """Tell whether the redelivered *copy* is of the message of *running*, and waits for its end."""
    is_known = has_id and copy.redelivered
    comes = running.channel.withdrawn or (is_known and running.channel.alive)
    if not comes or _body_of(running) != _body_of(copy):
        return False
    return _takes_place(copy, running, is_known=is_known)


def _takes_place(copy: CopiedDelivery, running: CopiedDelivery, *, is_known: bool) -> bool:
    """Let *copy* wait for *running*, unless another copy waits already; return whether it does.

    *is_known*: *copy* is known by its id.  Then it may come on another channel before the news that
    the broker has withdrawn the copy that waits.
    """
    waiting: CopiedDelivery | None = getattr(running, "copy", None)
    if waiting is not None and waiting.channel.alive:
        waited = copy.received - waiting.received
        if not is_known or waited < SHORTEST_TIMEOUT:
            return False
    running.copy = copy
    return True


def _body_of(delivery: CopiedDelivery) -> bytes | None:
    try:
        return delivery.body
    except MalformedMessage:
        return None


def _address(delivery: CopiedDelivery) -> tuple[str, str, str]:
    return delivery.origin, delivery.exchange, delivery.routing_key


def _is_marked(delivery: CopiedDelivery) -> bool:
    header = delivery.header
    return bool(header[1] & TYPED) and _MARK in header and _DEATH not in header


def _id_of(delivery: CopiedDelivery) -> bytes | None:
    """Return the id of a message as it is in a header, with its length before it; or None.

    It is the id of Postage's own: programs may give two messages the same one (`SEND_ID`).  A
    request of a call has only a correlation id.
    """
    try:
        properties = delivery.properties
        id_ = properties.send_id or properties.correlation_id
    except MalformedMessage:
        return None
    if not isinstance(id_, str) or not id_:
        return None
    data = id_.encode("utf-8", "surrogateescape")
    return bytes((len(data),)) + data


def _sought_by(item: Any) -> tuple[str, str, str, bytes | int] | None:
    """Return what a delivery has in common with its copies; None for a job, which has none."""
    if not hasattr(item, "origin"):
        return None
    id_ = _id_of(item)
    return (*_address(item), hash(_body_of(item)) if id_ is None else id_)


def _key(delivery: CopiedDelivery, id_: bytes) -> int:
    """Return one number for all by which a message is known, because a body can be large."""
    return hash((*_address(delivery), id_, delivery.body))
