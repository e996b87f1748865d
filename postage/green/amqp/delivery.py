"""Deliveries, and the bookkeeping of their acknowledgements on a channel."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

from postage.budget import weight
from postage.copies import HEADER_END, Identity, identity_of
from postage.errors import MalformedMessage
from postage.green.amqp.properties import Properties

__all__ = [
    "AckWriter",
    "Acks",
    "Delivery",
    "DeliveryChannel",
    "Returned",
    "UnfinishedMessage",
    "UnreadableDelivery",
    "WithdrawnChannel",
]

NO_PROPERTIES = bytes(2)
"""The flags of a header without any property."""
LEAST_HEADER = 14
"""Bytes of a header frame's payload without properties: class, weight, size of the body, flags."""
LARGEST_HEADER = 1 << 18
"""Bytes of the largest header that is accepted.  It may exceed the frame_max agreed: brokers add to
what publishers wrote (x-death, x-delivery-count), and RabbitMQ does not check the sum."""


class DeliveryChannel(Protocol):
    """The methods of a channel that a delivery on it needs."""

    @property
    def alive(self) -> bool:
        """False from the moment that the channel begins to close; the broker then redelivers."""

    @property
    def withdrawn(self) -> bool:
        """Whether the broker has taken its deliveries back, although the connection is open."""

    def ack(self, tag: int) -> None:
        """Acknowledge a delivery."""

    def reject(self, tag: int, *, requeue: bool) -> None:
        """Reject a delivery."""

    def give_back(self, tag: int) -> None:
        """Return a delivery that no handler has begun."""


class WithdrawnChannel:
    """The channel of a delivery whose consumer the broker has ended: it counts as lost.

    RabbitMQ 4.3 does so after the consumer timeout, and delivers them again, although the channel
    stays open.  It ignores an ack of the first delivery, once its consumer is gone
    (`ConsumerCancels`).
    """

    alive, withdrawn = False, True

    def __init__(self, channel: DeliveryChannel) -> None:
        self.ack, self.give_back = channel.ack, channel.give_back

    def reject(self, tag: int, *, requeue: bool) -> None:  # noqa: ARG002 - as of any channel
        """Return the delivery: the message comes again, and may not be lost before that."""
        self.give_back(tag)


class Delivery:
    """One delivery (AMQP basic.deliver with its content); classic Postage calls it *method*.

    A delivery can only be acknowledged or rejected on *channel*, the one that it came on.
    """

    __slots__ = (
        "_properties",
        "body",
        "channel",
        "consumer_tag",
        "copy",
        "delivery_tag",
        "exchange",
        "header",
        "origin",
        "received",
        "redelivered",
        "routing_key",
        "times",
        "weight_known",
    )

    channel: DeliveryChannel
    header: bytes
    """The properties as they stand in the header frame."""
    body: bytes
    copy: Delivery
    """See `postage.copies`; rarely set."""
    origin: str
    """The name of its queue; set only if it must be acknowledged."""
    weight_known: int
    """See `weight`; set when it is first asked for, as it is not for most deliveries."""
    times: int
    """See `postage.redelivery`; set only for a message that is redelivered, or lost."""

    def __init__(  # noqa: PLR0913 - the arguments of basic.deliver, and a time
        self,
        consumer_tag: str,
        delivery_tag: int,
        redelivered: bool,  # noqa: FBT001 - the arguments of basic.deliver, in their order
        exchange: str,
        routing_key: str,
        received: float,
    ) -> None:
        self.consumer_tag = consumer_tag
        self.delivery_tag = delivery_tag
        self.redelivered = redelivered
        self.exchange = exchange
        self.routing_key = routing_key
        self.received = received
        """When it arrived, by `time.monotonic`."""
        self._properties: Properties | None = None

    @property
    def properties(self) -> Properties:
        """The properties of the message, decoded when they are first read.

        Raises `MalformedMessage` if they cannot be decoded.
        """
        if self._properties is None:
            self._properties = Properties.decode_now(self.header)
        return self._properties

    @property
    def weight(self) -> int:
        """About how many bytes of memory it takes, decoded: see `postage.budget`."""
        try:
            return self.weight_known
        except AttributeError:
            self.weight_known = weight(self.body) + len(self.header)
            return self.weight_known

    def ack(self) -> None:
        """Tell the broker that the message is done.  Never switches; stale acks are counted."""
        self.channel.ack(self.delivery_tag)

    def reject(self, *, requeue: bool) -> None:
        """Return the message to its queue, or dead-letter it.  Never switches."""
        self.channel.reject(self.delivery_tag, requeue=requeue)

    def give_back(self) -> None:
        """Return the message, which no handler has begun, to its queue.  Never switches."""
        self.channel.give_back(self.delivery_tag)

    def mark_withdrawn(self) -> None:
        """Note that the broker delivers the message again: see `WithdrawnChannel`."""
        self.channel = WithdrawnChannel(self.channel)

    def __repr__(self) -> str:
        return (
            f"<Delivery {self.delivery_tag} of {self.exchange!r} {self.routing_key!r}, "
            f"{len(self.body)} bytes>"
        )


class UnreadableDelivery(Delivery):
    """A delivery whose content is damaged or too large: it can only be rejected.

    Reading its body raises `MalformedMessage` with the reason.  Its properties are those that have
    arrived, so that the caller of an RPC can be told.
    """

    __slots__ = ("_why",)

    times = 0  # it is not compared with other deliveries

    def __init__(self, delivery: Delivery, why: str) -> None:
        super().__init__(
            delivery.consumer_tag,
            delivery.delivery_tag,
            delivery.redelivered,
            delivery.exchange,
            delivery.routing_key,
            delivery.received,
        )
        self.header = getattr(delivery, "header", NO_PROPERTIES)
        self._why = why
        self.weight_known = len(self.header)

    @property
    def body(self) -> bytes:  # type: ignore[override]  # nothing sets it
        """Raise `MalformedMessage`."""
        raise MalformedMessage(self._why)

    def __repr__(self) -> str:
        return f"<UnreadableDelivery {self.delivery_tag}: {self._why}>"


class UnfinishedMessage:
    """A message of which not all frames have arrived."""

    __slots__ = ("_body", "_max_body", "_missing", "callback", "message", "no_ack")

    def __init__(
        self,
        message: Delivery,
        callback: Callable[[Any], None],
        max_body: int,
        no_ack: bool,  # noqa: FBT001 - in the order of `Codec.add_consumer`
    ) -> None:
        self.message, self.callback, self.no_ack = message, callback, no_ack
        self._max_body = max_body
        self._missing: int | None = None  # bytes of the body; None before the header
        self._body = bytearray()  # small parts in a list would cost many times their size

    def add_header(self, payload: bytes) -> str:
        """Take the payload of a header frame; return what is wrong with it, or an empty text."""
        if self._missing is not None:
            return "it has two header frames"
        if len(payload) < LEAST_HEADER:
            return "its header frame is cut short"
        if len(payload) > LARGEST_HEADER:
            return f"a header of {len(payload)} bytes, over {LARGEST_HEADER}"
        self.message.header = payload[12:]
        self._missing = size = int.from_bytes(payload[4:12], "big")
        if size > self._max_body:
            limit = f"over {self._max_body}: see max_body of the consumer class"
            return f"a body of {size} bytes, {limit}"
        return ""

    def add_body(self, part: bytes) -> str:
        """Take the payload of a body frame; return what is wrong with it, or an empty text."""
        if self._missing is None:
            return "its body comes before its header"
        if len(part) > self._missing:
            return "its body is longer than its header says"
        self._missing -= len(part)
        self._body += part
        return ""

    def finish(self) -> bool:
        """Give the message its body if all of it is here; return whether that is so."""
        if self._missing != 0:
            return False
        self.message.body = bytes(self._body)
        return True


class Returned(Delivery):
    """A mandatory message that reached no queue (basic.return with its content).

    It has no consumer, and cannot be acknowledged.
    """

    __slots__ = ("reply_text",)

    reply_text: str
    """Why the broker has returned it."""


Ack = tuple[int, bool]
"""A delivery tag, and whether the ack covers all deliveries up to it (``multiple``)."""


class AckWriter(Protocol):
    """A channel that notes acks in a turn of the hub, and writes them at its end."""

    def flush_acks(self) -> None:
        """Write the acks that were noted; called in the hub."""

    def take_acks(self) -> bytes:
        """Return frames with the acks noted so far; called in any native thread, under the lock."""


_NO_LOCK: AbstractContextManager[None] = nullcontext()


class Acks:
    """The deliveries of a channel that are in progress, and those finished since the last `flush`.

    An ack with ``multiple`` covers all unacknowledged deliveries up to its tag, of all consumers of
    the channel.  So it is written only if no delivery below its tag is in progress.  Finished
    deliveries above one in progress are acknowledged one by one.

    All methods are for the hub, except `take_finished`.
    """

    def __init__(self) -> None:
        self._in_progress: dict[int, Delivery] = {}  # by their tags, in their order
        self._finished: list[int] = []
        self.note: Callable[[Identity], object] = deque[Identity](maxlen=0).append
        """Takes the identity of each delivery that is acknowledged or rejected for good."""
        self.add: Callable[[int, Delivery], None] = self._in_progress.__setitem__
        """Takes the tag of a delivery, and the delivery."""

    def __len__(self) -> int:
        return len(self._in_progress)

    def finish(self, tag: int) -> bool:
        """Acknowledge *tag* at the next `flush`; return False if it is not in progress."""
        done = self._in_progress.pop(tag, None)
        if done is None:
            return False
        # `identity_of`, without a call for each message
        self.note((done.origin, done.exchange, done.routing_key, done.header[HEADER_END]))
        self._finished.append(tag)
        return True

    def discard(self, tag: int, *, requeued: bool) -> bool:
        """Remove *tag*, which is rejected now; return False if it is not in progress."""
        discarded = self._in_progress.pop(tag, None)
        if discarded is not None and not requeued:
            self.note(identity_of(discarded))
        return discarded is not None

    def of_consumers(self, consumers: Collection[str]) -> list[int]:
        """Return the tags that *consumers* have in progress."""
        held = self._in_progress.items()
        return [tag for tag, delivery in held if delivery.consumer_tag in consumers]

    @property
    def in_progress(self) -> Collection[Delivery]:
        """The deliveries in progress; they may change while the hub runs."""
        return self._in_progress.values()

    def flush(self, lock: AbstractContextManager[Any] = _NO_LOCK) -> list[Ack]:
        """Return the acks to write for all finished deliveries.

        *lock* is held by another thread from `take_finished` until it has written those acks.
        """
        if len(self._finished) == 1:
            # A single ack needs no lock: `pop` is atomic, and the order of such acks is free.
            try:
                return [(self._finished.pop(), False)]
            except IndexError:  # another thread was faster
                return []
        if not self._finished:
            return []
        with lock:  # an ack of several deliveries must not precede one of them
            finished, self._finished = self._finished, []
        lowest = next(iter(self._in_progress), None)
        below = [tag for tag in finished if lowest is None or tag < lowest]
        acks = [(tag, False) for tag in finished if lowest is not None and tag > lowest]
        if below:
            acks.insert(0, (max(below), len(below) > 1))
        return acks

    def take_finished(self) -> list[int]:
        """Return the finished deliveries, which are acknowledged now; `flush` will omit them.

        For any native thread, under a lock that `flush` takes, too.  Looks at nothing but the
        finished ones, since the hub may be in the middle of a change of the others.
        """
        finished = self._finished[:]
        del self._finished[: len(finished)]  # `finish` may have appended others meanwhile
        return finished

    def clear(self) -> int:
        """Remove all deliveries, because the channel has ended; return how many were finished."""
        unwritten = len(self._finished)
        self._in_progress.clear()
        self._finished.clear()
        return unwritten
