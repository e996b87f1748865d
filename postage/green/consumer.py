"""Consumers: queues bound to exchanges, and what comes out of them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, TypeGuard

import gevent.event
import gevent.queue

from postage.addressing import Eqk, QueueSpec, bindings_of, queue_name_and_flags
from postage.encoding import Encoder, JsonEncoder
from postage.errors import ChannelRefused, ConsumerCancelled, PostageError
from postage.exchange import Exchange
from postage.green import debug
from postage.green.amqp.channel import Channel, OnDelivery, new_tag
from postage.green.amqp.delivery import Delivery
from postage.green.amqp.frames import Properties
from postage.green.amqp.pair import Pair, pair_of
from postage.green.publisher import body_of
from postage.message import Message, MessageResult
from postage.settings import Hup, Settings

__all__ = ["GenericConsumer"]

logger = logging.getLogger(__name__)

Callback = Callable[[Channel, Delivery, Properties, bytes], object]


class GenericConsumer:
    """Listens to queues: ``[(Exchange, [(queue, key), ...]), ...]``.

    A queue is a name, or ``{"name": ..., "flags": {...}}`` with the flags of queue.declare:
    ``durable`` (True unless exclusive), ``auto_delete``, ``exclusive``, ``arguments``, ``passive``
    (use it as it is).  Making one connects and declares; it raises `ConnectionFailed`, or
    `TopologyMismatch` where a queue or exchange exists with other flags.
    """

    eqk: Eqk = ()
    """What to listen to, when the constructor gets none."""
    encoder_class: type[Encoder] = JsonEncoder
    vhost: str | None = None
    """The virtual host; None: ``messaging.global_vhost``."""
    hup: Hup | None = None
    """Host, user and password; None: ``messaging.global_hup``."""
    prefetch: int = 1
    """How many messages of a queue may be here unacknowledged.  A processor sets its own."""
    max_body: int = 8 << 20
    """Bytes of the largest body that a processor decodes; larger ones are rejected."""

    def __init__(
        self, eqk: Eqk | None = None, hup: Hup | None = None, vhost: str | None = None
    ) -> None:
        debug.enable_if_asked()
        self.settings = Settings.resolve(hup or self.hup, vhost or self.vhost)
        self.vhost = self.settings.vhost
        self.encoder = self.encoder_class()
        self.discard_all_messages = False
        """True: every message is rejected unread."""
        self.qk_list: list[tuple[str, str]] = []
        """The queues and keys that were bound."""
        self._tags: dict[str, str] = {}
        self._quiet: list[str] = []  # tags of consumers that were ended before the others
        self._channel: Channel | None = None
        self._on_delivery: OnDelivery | None = None
        self._over: gevent.event.AsyncResult[None] = gevent.event.AsyncResult()
        self.add_eqk(eqk or self.eqk)

    def __repr__(self) -> str:
        state = "consuming" if self.consuming else "idle"
        return f"<{type(self).__name__} of {sorted({queue for queue, _ in self.qk_list})}, {state}>"

    @property
    def consuming(self) -> bool:
        """True while there are consumers on the broker, or about to be."""
        return self._channel is not None

    @property
    def _pair(self) -> Pair:
        return pair_of(self.settings)

    # --- topology; all of these switch greenlets and can be called while consuming

    def add_eqk(self, eqk: Eqk) -> None:
        """Declare and bind what is in *eqk*; while consuming, consume from it as well."""
        for binding in bindings_of(eqk):
            self.queue_bind(binding.exchange, binding.queue, binding.key)

    def queue_bind(
        self, exchange_class: type[Exchange], queue: QueueSpec, key: str, **flags: Any
    ) -> None:
        """Declare *exchange_class* and *queue* (with *flags*), and bind them by *key*."""
        name, own_flags = queue_name_and_flags(queue)
        flags = {**own_flags, **flags}
        # A broker of today refuses shared queues that do not survive its restart.
        flags.setdefault("durable", not flags.get("exclusive", False))
        try:
            name = self._bind(exchange_class, name, key, flags)
        except ChannelRefused as exc:
            if not exc.misses(exchange_class.name):
                raise
            # Somebody deleted it since this connection declared it.
            self._pair.consuming.get().forget(exchange_class)
            name = self._bind(exchange_class, name, key, flags)
        self.qk_list.append((name, key))
        if self._channel is not None:
            self._consume(self._channel, name)

    def _bind(self, exchange: type[Exchange], queue: str, key: str, flags: dict[str, Any]) -> str:
        """Declare and bind; return the name of the queue, which the broker gives to a nameless."""
        connection = self._pair.consuming.get()
        connection.declare(exchange)
        with connection.lease() as channel:
            queue = channel.queue_declare(queue, **flags)
            channel.queue_bind(queue, exchange.name, key)
        return queue

    def queue_unbind(self, exchange_class: type[Exchange], queue: QueueSpec, key: str) -> None:
        """Undo a binding; what is in the queue already is still consumed."""
        name, _ = queue_name_and_flags(queue)
        with self._pair.consuming.get().lease() as channel:
            channel.queue_unbind(name, exchange_class.name, key)
        self.qk_list = [pair for pair in self.qk_list if pair != (name, key)]

    def leave(self, queue: QueueSpec) -> None:
        """Stop consuming from *queue*, whose bindings others may rely on."""
        name, _ = queue_name_and_flags(queue)
        self.qk_list = [pair for pair in self.qk_list if pair[0] != name]
        tag = self._tags.pop(name, None)
        if tag is not None and self._channel is not None:
            self._quiet.append(tag)
            self._channel.cancel(tag)

    # --- consuming

    def start_consuming(self, callback: Callback) -> None:
        """Call ``callback(channel, method, header, body)`` for each message until `stop_consuming`.

        Runs the callbacks in the calling greenlet, one after the other.  Raises what a callback
        raises, `ConnectionLost` when the connection ends, `ConsumerCancelled` when a queue is gone.
        """
        inbox: gevent.queue.SimpleQueue[Delivery | None] = gevent.queue.SimpleQueue()
        self._over.rawlink(lambda _: inbox.put(None))
        try:
            self.begin(inbox.put)
            while (delivery := inbox.get()) is not None and not self._over.ready():
                callback(delivery.channel, delivery, delivery.properties, delivery.body)
            self._over.get()
        finally:
            self.end()

    def stop_consuming(self) -> None:
        """Ask `start_consuming` to return; never switches, may be called anywhere, and twice.

        Asked before it began, it returns at once.
        """
        if not self._over.ready():
            self._over.set()

    def begin(self, on_delivery: OnDelivery) -> None:
        """Start a consumer on every queue; *on_delivery* runs in the hub.  Switches."""
        self._on_delivery = on_delivery
        channel = self._pair.consuming.get().consuming_channel()
        channel.on_end.append(self._lost)
        channel.on_cancel.append(self._cancelled)
        self._channel = channel
        for queue in dict.fromkeys(queue for queue, _ in self.qk_list):
            self._consume(channel, queue)

    def wait(self) -> None:
        """Wait until `stop_consuming` is called; raises what ended the consumers before that."""
        self._over.get()

    def quiesce(self) -> None:
        """End the consumers on the broker; what is here can still be settled.  Switches."""
        tags = list(self._tags.values())
        self._tags.clear()
        self._quiet += tags
        if self._channel is not None:
            for tag in tags:
                self._channel.cancel(tag)

    def end(self) -> None:
        """End the consumers, and give back what is here unsettled.  Switches."""
        channel, self._channel = self._channel, None
        tags = {*self._tags.values(), *self._quiet}
        self._tags.clear()
        self._quiet.clear()
        self._over = gevent.event.AsyncResult()
        if channel is None:
            return
        channel.on_end.remove(self._lost)
        channel.on_cancel.remove(self._cancelled)
        channel.leave(tags)

    def _consume(self, channel: Channel, queue: str) -> None:
        """One AMQP consumer per queue, however many keys it has and greenlets bind it at once."""
        if queue in self._tags or all(queue != bound for bound, _ in self.qk_list):
            return
        # Known from here on, so that whoever leaves the queue meanwhile, the broker too, is heard.
        tag = self._tags[queue] = new_tag()
        try:
            channel.consume(queue, self._receive, prefetch=self.prefetch, tag=tag)
        except BaseException:
            self._tags.pop(queue, None)
            raise

    def _receive(self, delivery: Delivery) -> None:
        if self.discard_all_messages:
            delivery.reject(requeue=False)
        elif self._over.ready():
            delivery.reject(requeue=True)
        elif self._on_delivery is not None:
            self._on_delivery(delivery)

    def _lost(self, error: PostageError) -> None:
        if not self._over.ready():
            self._over.set_exception(error)

    def _cancelled(self, tag: str) -> None:
        queue = next((queue for queue, ours in self._tags.items() if ours == tag), None)
        if queue is not None:
            self._lost(ConsumerCancelled(queue))

    # --- what a callback does with a message

    def ack(self, method: Delivery) -> None:
        """Acknowledge; never switches, and is counted, not raised, on a channel that is gone."""
        method.ack()

    def reject(self, method: Delivery, requeue: bool) -> None:  # noqa: FBT001 - the classic signature
        """Reject, and put the message back into its queue or not; never switches."""
        method.reject(requeue=requeue)

    def decode(self, data: bytes) -> Any:
        """Return the decoded *data*; raises `DecodingError`."""
        return self.encoder.decode(data)

    def rpc_reply(self, header: Properties, message: Any) -> None:
        """Answer the RPC with the properties *header* by a result message or any value.

        Switches only while the broker takes no data.  Raises `EncodingError`.  A reply that reaches
        nobody is logged and dropped.
        """
        result = message if isinstance(message, Message) else MessageResult(message)
        body = body_of(self.encoder, result.body)
        reply_to = header.reply_to
        if not _is_address(reply_to):
            logger.warning("An RPC with reply_to = %r cannot be answered.", reply_to)
            return
        properties = Properties(
            content_type=self.encoder.content_type, correlation_id=header.correlation_id
        )
        channel = self._pair.publishing.get().calling.get()
        channel.publish("", reply_to, properties, body, mandatory=True)


def _is_address(reply_to: object) -> TypeGuard[str]:
    """Tell whether *reply_to* can be a routing key.

    What is no UTF-8 (bytes, or text with surrogates, by pika's codec or ours) must not be
    published: a broker may close the connection over it, which others share.
    """
    if not isinstance(reply_to, str) or not reply_to:
        return False
    return reply_to.isascii() or not any("\ud800" <= each <= "\udfff" for each in reply_to)
