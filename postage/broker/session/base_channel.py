"""A channel without its consumers: its state, its publishes and confirms, its transaction."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple, Protocol

from postage.broker.core.backlog import Backlog
from postage.broker.core.costs import HELD_STEP
from postage.broker.core.queue import BrokerQueue, QueuedMessage
from postage.broker.core.validation import REPLY_TO, validate
from postage.broker.core.vhost import VHost
from postage.broker.wire.content import (
    MessageHeader,
    PublishedMessage,
    decode_properties,
    encode_properties,
)
from postage.broker.wire.exceptions import ChannelFault, ConnectionFault
from postage.broker.wire.fields import encoded_values, short_string
from postage.broker.wire.framing import message_frames, method_start
from postage.broker.wire.methods import MethodCall, encode
from postage.protocol import BASIC, method_id

__all__ = [
    "GONE",
    "BaseChannel",
    "HeldPublish",
    "Outlet",
    "Transaction",
    "Unacked",
    "UnackedCount",
    "in_losing_order",
    "in_settling_order",
]

_NO_ROUTE = method_id(BASIC, 50) + (312).to_bytes(2, "big") + short_string("NO_ROUTE")


class Outlet(Protocol):
    """A connection as its channels see it."""

    id: int
    user: str
    frame_max: int
    deliveries_paused: bool
    """Whether so much is unsent that consumers take no more messages."""
    deliveries: int
    """Messages delivered on channels that have been closed."""

    def hold(self, change: int) -> None:
        """Charge *change* bytes that the connection holds."""

    def write(self, data: bytes) -> None:
        """Send *data*."""

    def capability(self, name: str) -> bool:
        """Tell whether the client supports *name*."""

    def confirm_later(self, flush: Callable[[], None]) -> None:
        """Call *flush* when the present input has been handled."""


class UnackedCount:
    """How many deliveries of the consumer *tag* are unacknowledged.

    They refer to this, and not to the consumer, which may be gone before they are settled.
    """

    __slots__ = ("number", "tag", "unacked")

    _numbers = itertools.count()

    def __init__(self, tag: str) -> None:
        self.tag, self.unacked = tag, 0
        self.number = next(self._numbers)
        """The number of the consumer, in the order in which consumers have begun."""


GONE = QueuedMessage(b"", MessageHeader(b""), b"")
"""Stands for a message whose queue has been deleted."""

Unacked = tuple[BrokerQueue, QueuedMessage, UnackedCount | None]
"""An unacknowledged delivery: queue, message, and the count of the consumer (None: basic.get)."""
Settle = Callable[[list[Unacked]], None]
"""Acknowledges, rejects or requeues deliveries."""


def in_settling_order(deliveries: dict[int, Unacked]) -> dict[int, Unacked]:
    """Return *deliveries* in the order in which RabbitMQ settles many.

    First those of basic.get; then those of each consumer, by their tags.
    """

    def rank(tag: int) -> str:
        count = deliveries[tag][2]
        return "" if count is None else count.tag

    return _sorted(deliveries, rank)


def in_losing_order(deliveries: dict[int, Unacked], *, by_tag: bool) -> dict[int, Unacked]:
    """Return *deliveries* in the order in which RabbitMQ requeues them when their channel ends.

    First those of each consumer, the oldest consumer first; then those of basic.get, by the digits
    of the delivery tag.  If *by_tag*, both are in one order, that of digits and consumer tags.
    """

    def rank(tag: int) -> tuple[int, str]:
        count = deliveries[tag][2]
        if count is None:
            return 0 if by_tag else sys.maxsize, str(tag)
        return (0, count.tag) if by_tag else (count.number, "")

    return _sorted(deliveries, rank)


def _sorted(deliveries: dict[int, Unacked], rank: Callable[[int], Any]) -> dict[int, Unacked]:
    return {tag: deliveries[tag] for tag in sorted(deliveries, key=rank)}


class HeldPublish(NamedTuple):
    """A publish in a transaction."""

    message: PublishedMessage
    queues: list[str]
    """The names of the queues that it goes to, if they exist at the commit."""
    mandatory: bool
    """Whether it is returned if there is none."""

    @property
    def size(self) -> int:
        """Bytes that it takes at the commit: that cannot wait until there is memory for them."""
        message = self.message
        copy = QueuedMessage(message.address, message.header, message.body)
        return HELD_STEP + copy.size * max(1, len(self.queues))


class Transaction:
    """What a channel holds back until the client commits (AMQP 0-9-1, class tx).

    It is charged to *hold* until then.
    """

    def __init__(self, hold: Callable[[int], None]) -> None:
        self._hold = hold
        self.held = 0
        """Bytes of memory that have been charged, besides the unacknowledged messages."""
        self.publishes: list[HeldPublish] = []
        self.acks: list[tuple[Settle, dict[int, Unacked]]] = []
        """Acks, rejects and nacks: what to do, and with which deliveries by tag."""

    def charge(self, size: int) -> None:
        """Charge *size* bytes for one more thing that is held back."""
        self.held += size
        self._hold(size)

    def _release(self) -> None:
        charged, self.held = self.held, 0
        self._hold(-charged)

    def commit(self, backlog: Backlog, put: Callable[[HeldPublish], None]) -> None:
        """Carry out what was held back: publishes before acks, as RabbitMQ does.

        With very many of them, *backlog* does the rest in later turns of the hub.
        """
        publishes, self.publishes = self.publishes, []
        acks, self.acks = self.acks, []
        self.held, charged = 0, self.held - sum(each.size for each in publishes)
        self._hold(-charged)
        backlog.each(publishes, partial(self._put_each, put), "publishes of a transaction")
        for action, deliveries in acks:
            backlog.each(deliveries.values(), action, "acks of a transaction")

    def _put_each(self, put: Callable[[HeldPublish], None], publishes: list[HeldPublish]) -> None:
        self._hold(-sum(each.size for each in publishes))
        for each in publishes:
            put(each)

    def roll_back(self) -> dict[int, Unacked]:
        """Discard what was held back; return the deliveries that are unacknowledged again."""
        self._release()
        acks, self.acks = self.acks, []
        self.publishes.clear()
        again: dict[int, Unacked] = {}
        for _, deliveries in acks:
            again.update(deliveries)
        return again


class BaseChannel:
    """Channel *number* of the connection *outlet*."""

    def __init__(self, outlet: Outlet, number: int, vhost: VHost) -> None:
        self.outlet, self.number, self.vhost = outlet, number, vhost
        self.closing = False
        """True from the broker's channel.close to the client's close-ok: all else is ignored."""
        self.unacked: dict[int, Unacked] = {}
        """Deliveries without an ack, by tag, in the order of the tags."""
        self.last_tag = 0
        """The tag of the last delivery, which is also the number of deliveries."""
        self.out = 0
        """Unacknowledged deliveries to consumers; those of basic.get count for no limit."""
        self.prefetch = 0
        """The limit of `out` for all consumers together; 0: none."""
        self.transaction: Transaction | None = None
        self.reply_key: str | None = None
        """The routing key of direct replies to this channel, if it has a consumer of them."""
        self.confirms = False
        """Whether the channel is in confirm mode."""
        self._unnamed: BrokerQueue | None = None
        """Stands for the deleted queues of unacknowledged messages."""
        self._last_publish = 0
        """The number of the last publish in confirm mode."""
        self._unconfirmed = 0
        """The last publish that the next `flush_confirms` has to confirm; 0: none."""

    def detach(self) -> None:
        """Keep nothing of unacknowledged messages whose queue has been deleted.

        Only that the client may settle them is kept, and charged to the connection.
        """
        taken = self.transaction.acks if self.transaction is not None else []
        for deliveries in (self.unacked, *(each for _, each in taken)):
            for tag, (queue, queued, consumer) in deliveries.items():
                if queued is not GONE and self.vhost.queues.get(queue.name) is not queue:
                    queue.discard(queued)
                    deliveries[tag] = self._detached_queue(), GONE, consumer

    def _detached_queue(self) -> BrokerQueue:
        """Return the queue of one more delivery without a message."""
        if self._unnamed is None:
            self._unnamed = self.vhost.unnamed_queue(self.outlet.hold)
        self._unnamed.unacked += 1
        self.outlet.hold(GONE.size)
        return self._unnamed

    # --- output

    def send(self, name: str, **arguments: Any) -> None:
        """Send a method."""
        self.outlet.write(encode(self.number, name, **arguments))

    def send_message(self, method: bytes, header: bytes, body: bytes) -> None:
        """Send a method that carries a message."""
        start = method_start(self.number, len(method))
        frame_max = self.outlet.frame_max
        self.outlet.write(message_frames(self.number, (start, method), header, body, frame_max))

    # --- publishes

    def publish(self, call: MethodCall, data: bytes, body: bytes) -> None:
        """Carry out a basic.publish with the header *data*, which starts with the flags.

        Raises `Fault`.  Returns when the message is in its queues, unless a transaction is open.
        """
        if call.immediate:
            raise ConnectionFault(540, "immediate=true")
        if call.exchange and self.vhost.exchange(call.exchange).internal:
            name = f"exchange '{call.exchange}' in vhost '{self.vhost.name}'"
            raise ChannelFault(403, f"cannot publish to internal {name}")
        header = validate(data, self.outlet.user)
        if header.wants_direct_reply:
            header = self._with_reply_key(header)
        message = PublishedMessage(call.exchange, call.routing_key, header, body, call.address)
        queues = self.vhost.route(message)
        if self.confirms:
            self._last_publish += 1
        if self.transaction is None:
            self._put(message, queues, mandatory=call.mandatory)
        else:
            names, is_late = [queue.name for queue in queues], self.vhost.likeness.routes_late
            if is_late and not call.exchange:
                names += sorted({call.routing_key, *header.more_keys}.difference(names))
            held = HeldPublish(message, names, call.mandatory and (is_late or not queues))
            self.transaction.charge(held.size)
            self.transaction.publishes.append(held)

    def _with_reply_key(self, header: MessageHeader) -> MessageHeader:
        """Return *header* with the key of this channel's consumer of direct replies."""
        if self.reply_key is None:
            raise ChannelFault(406, "fast reply consumer does not exist")
        values = {**decode_properties(header.data, encoded_values), "reply_to": self.reply_key}
        return header._replace(data=encode_properties(values), wants_direct_reply=False)

    def _put_held(self, held: HeldPublish) -> None:
        """Put a message into those of its queues that exist at the commit."""
        known = self.vhost.queues
        queues = [known[name] for name in held.queues if name in known]
        self._put(held.message, queues, mandatory=held.mandatory)

    def _put(
        self, message: PublishedMessage, queues: Sequence[BrokerQueue], *, mandatory: bool
    ) -> None:
        """Put *message* into *queues*; then confirm or nack it in confirm mode."""
        if len(queues) == 1:
            accepted = queues[0].publish(message)
        elif queues:
            accepted = self.vhost.put_all(message, queues)
        else:
            accepted = True
            self._put_nowhere(message, mandatory=mandatory)
        if not self.confirms:
            return
        if not accepted:
            self.flush_confirms()
            self.send("basic.nack", delivery_tag=self._last_publish)
            return
        if not self._unconfirmed:
            self.outlet.confirm_later(self.flush_confirms)
        self._unconfirmed = self._last_publish

    def _put_nowhere(self, message: PublishedMessage, *, mandatory: bool) -> None:
        """Deliver *message* if it is a direct reply; return it if it is mandatory.

        RabbitMQ 3 returns a mandatory direct reply although it was delivered, because it has
        reached no queue.  RabbitMQ 4 returns none that has the form of one.
        """
        consumer = None if message.exchange else self.vhost.reply_consumers.get(message.key)
        if consumer is not None:
            consumer.deliver_reply(message)
        is_reply = not message.exchange and message.key.startswith(f"{REPLY_TO}.")
        if is_reply and not self.vhost.likeness.returns_replies:
            return
        if mandatory and not self.closing:
            self.send_message(_NO_ROUTE + message.address, message.header.data, message.body)

    def flush_confirms(self) -> None:
        """Confirm all publishes since the last confirm with one ack."""
        if self._unconfirmed:
            self.send("basic.ack", delivery_tag=self._unconfirmed, multiple=True)
            self._unconfirmed = 0
