"""Consumers: queues bound to exchanges, and what comes out of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any

import gevent.event
import gevent.queue

from postage.addressing import Binding, Eqk, QueueSpec, bindings_of, queue_name_and_flags
from postage.encoding import Encoder, JsonEncoder
from postage.exchange import Exchange
from postage.green import debug
from postage.green.amqp.channel import Channel, OnDelivery
from postage.green.amqp.delivery import Delivery
from postage.green.amqp.frames import Properties
from postage.green.pipelining import current_pipeline
from postage.green.rpc.serving import reply_to
from postage.green.runtime import Runtime, runtime_of
from postage.green.subscription import Subscription, declare_queue
from postage.green.topology import QueueDeclaration, Topology
from postage.settings import Hup, Settings

__all__ = ["GenericConsumer", "OnEnd"]

Callback = Callable[[Channel, Delivery, Properties, bytes], object]
OnEnd = Callable[[Any], object]
"""Gets the error that ended something, an `Exception`, or None."""


class GenericConsumer:
    """Listens to queues: ``[(Exchange, [(queue, key), ...]), ...]``.

    A queue is a name, or ``{"name": ..., "flags": {...}}`` with the flags of queue.declare:
    ``durable`` (True unless exclusive), ``auto_delete``, ``exclusive``, ``arguments``, ``passive``
    (use it as it is).  Making one connects and declares; it raises `ConnectionFailed`, or
    `TopologyMismatch` where a queue or exchange exists with other flags.

    It remembers what it declared: when the connection or its channel is lost while it consumes, or
    the broker ends a consumer, all of it is declared anew and consumed again.
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
    discard_all_messages: bool = False
    """Whether every message is rejected unread; may be set on the class or an instance."""

    def __init__(
        self,
        eqk: Eqk | None = None,
        hup: Hup | None = None,
        vhost: str | None = None,
        *,
        settings: Settings | None = None,
    ) -> None:
        debug.enable_if_asked()
        self.settings = Settings.resolve(hup or self.hup, vhost or self.vhost, settings)
        self.vhost = self.settings.vhost
        self.encoder = self.encoder_class()
        self.counts: Counter[str] = Counter()
        """``lost`` channels, ``cancelled`` consumers, ``amiss`` (the watchdog found consumers
        gone), ``restored``: how often it consumed again after any of them."""
        self._topology = Topology()
        self._subscription: Subscription | None = None
        self._over: gevent.event.AsyncResult[None] = gevent.event.AsyncResult()
        self.add_eqk(eqk or self.eqk)

    def __repr__(self) -> str:
        state = "idle" if self._subscription is None else "waiting for the broker"
        state = "consuming" if self.consuming else state
        queues = sorted(queue.name for queue in self._topology)
        return f"<{type(self).__name__} of {queues}, {state}>"

    @property
    def consuming(self) -> bool:
        """True while there is a consumer on the broker for every queue."""
        return self._subscription is not None and self._subscription.consuming

    @property
    def stopping(self) -> bool:
        """True when it was asked to stop, or has failed, and has not ended yet."""
        return self._over.ready()

    @property
    def qk_list(self) -> list[tuple[str, str]]:
        """The queues and keys that are bound."""
        return self._topology.queues_and_keys

    @property
    def bindings(self) -> list[Binding]:
        """What is bound, each with the exchange, the name of the queue and the key."""
        return [
            Binding(exchange, queue.name, key)
            for queue in self._topology
            for exchange, key in queue.bindings
        ]

    @property
    def _runtime(self) -> Runtime:
        return runtime_of(self.settings)

    # --- topology; all of these switch greenlets and can be called while consuming

    def add_eqk(self, eqk: Eqk) -> None:
        """Declare and bind what is in *eqk*; while consuming, consume from it as well."""
        queues: dict[Any, QueueDeclaration] = {}
        for binding in bindings_of(eqk):
            queue = _queue_of(binding.queue)
            same = queue.requested_name, repr(queue.flags)
            # Each that has no name is one of its own: the broker chooses.
            queue = queues.setdefault(same if queue.requested_name else len(queues), queue)
            queue.bindings[binding.exchange, binding.key] = None
        for queue in queues.values():
            self._declare(queue)

    def queue_bind(
        self, exchange_class: type[Exchange], queue: QueueSpec, key: str, **flags: Any
    ) -> None:
        """Declare *exchange_class* and *queue* (with *flags*), and bind them by *key*."""
        declared = _queue_of(queue, flags)
        declared.bindings[exchange_class, key] = None
        self._declare(declared)

    def _declare(self, queue: QueueDeclaration) -> None:
        runtime, pipeline = self._runtime, current_pipeline()
        connection = runtime.pair.consuming.get()
        # Another connection may hold an exclusive queue: that error belongs to the constructor.
        may_wait = queue.requested_name and not queue.flags.get("exclusive")
        if pipeline is not None and may_wait and self._subscription is None:
            pipeline.add(runtime, partial(declare_queue, connection, queue))
            self._topology.add(queue)
            return
        with runtime.declare_gate:
            declare_queue(connection, queue)
        known = self._topology.add(queue)
        if self._subscription is not None:
            self._subscription.add(known)

    def queue_unbind(self, exchange_class: type[Exchange], queue: QueueSpec, key: str) -> None:
        """Undo a binding; what is in the queue already is still consumed."""
        name, _ = queue_name_and_flags(queue)
        # First, because recovery may bind it again meanwhile.
        self._topology.discard_binding(exchange_class, name, key)
        pair = self._runtime.pair
        pair.wait_declared(self.settings.operation_timeout)
        with pair.consuming.get().lease() as channel:
            channel.queue_unbind(name, exchange_class.name, key)

    def leave(self, queue: QueueSpec) -> None:
        """Stop consuming from *queue*, whose bindings others may rely on."""
        name, _ = queue_name_and_flags(queue)
        known = self._topology.discard(name)
        if known is not None and self._subscription is not None:
            self._subscription.remove(known)

    # --- consuming

    def start_consuming(self, callback: Callback) -> None:
        """Call ``callback(channel, method, header, body)`` for each message until `stop_consuming`.

        Runs the callbacks in the calling greenlet, one after the other.  Waits for as long as it
        takes when the connection is lost, and then consumes again.  Raises what a callback raises,
        what keeps it from consuming and will not pass (as `TopologyMismatch`), and
        `ConnectionClosed` when our own side closes the connection.
        """
        inbox: gevent.queue.SimpleQueue[Delivery | None] = gevent.queue.SimpleQueue()

        def receive(delivery: Delivery) -> None:
            if self.discard_all_messages:
                delivery.reject(requeue=False)
            else:
                inbox.put(delivery)

        try:
            self.start(receive, lambda _error: inbox.put(None))
            while (delivery := inbox.get()) is not None and not self._over.ready():
                if delivery.channel.alive:  # else the broker delivers it again
                    callback(delivery.channel, delivery, delivery.properties, delivery.body)
            self._over.get()
        finally:
            self.stop()

    def stop_consuming(self) -> None:
        """Ask `start_consuming` to return; never switches, may be called anywhere, and twice.

        Asked before it began, it returns at once.
        """
        if not self._over.ready():
            self._over.set()

    def start(self, on_delivery: OnDelivery, on_end: OnEnd | None = None) -> None:
        """Start to consume from every queue, now or as soon as there is a connection.

        Never switches.  *on_delivery* is called in the hub and must not block.  The channel of a
        delivery may have ended when its turn comes; the broker then delivers the message again.
        *on_end* is called in the hub when consuming is to end, with the error that ends it, or with
        None after `stop_consuming`.
        """
        if on_end is not None:
            self._over.rawlink(lambda over: on_end(over.exception))
        self._subscription = Subscription(
            self._runtime, self._topology, on_delivery, self._fail, self.counts
        )
        self._subscription.prefetch = self.prefetch
        self._subscription.start()

    def cancel_consumers(self) -> None:
        """End the consumers on the broker; messages that are here can still be acknowledged.

        Does not wait for the broker.
        """
        self.stop_consuming()
        if self._subscription is not None:
            self._subscription.stop()

    def stop(self, limit: float = 5.0) -> None:
        """End the consumers and requeue the messages that are here unacknowledged; switches.

        Waits at most *limit* seconds for a broker that does not answer.
        """
        subscription, self._subscription = self._subscription, None
        try:
            if subscription is not None:
                subscription.close(limit)
        finally:
            self._over = gevent.event.AsyncResult()

    def _fail(self, error: Exception) -> None:
        if not self._over.ready():
            self._over.set_exception(error)

    # --- what a callback does with a message

    def queue_of(self, method: Delivery) -> str:
        """Return the name of the queue that a message came from; empty when that was left."""
        return (
            "" if self._subscription is None else self._subscription.queue_of(method.consumer_tag)
        )

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

        Switches only while the broker takes no data.  Raises `EncodingError`.  A reply without an
        address is logged and dropped.
        """
        reply_to(self._runtime.pair, self.encoder, header, message)


def _queue_of(spec: QueueSpec, flags: Mapping[str, Any] = MappingProxyType({})) -> QueueDeclaration:
    """Return the queue *spec*, with its own flags under *flags*; nothing is bound yet."""
    name, own_flags = queue_name_and_flags(spec)
    flags = {**own_flags, **flags}
    # A broker of today refuses shared queues that do not survive its restart.
    flags.setdefault("durable", not flags.get("exclusive", False))
    return QueueDeclaration(name, name, flags)
