"""Consumers declare queues, bind them to exchanges, and receive their messages."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, cast

import gevent.event
import gevent.queue

from postage.addressing import (
    Binding,
    Eqk,
    Key,
    QueueSpec,
    bindings_of,
    check_binding,
    queue_name_and_flags,
)
from postage.attributes import CONSUMER
from postage.callables import refuse_lazy
from postage.copies import TYPED, Copies
from postage.deadline import Deadline
from postage.encoding import Encoder, JsonEncoder
from postage.errors import ConnectionClosed, MalformedMessage, PostageError, SettingsError
from postage.exchange import Exchange
from postage.green.amqp.channel import OnDelivery
from postage.green.amqp.connection import Connection
from postage.green.amqp.declared_queues import declare_queue
from postage.green.amqp.delivery import Delivery, DeliveryChannel
from postage.green.amqp.hub_door import HubDoor, hub_door, native_thread
from postage.green.amqp.hub_logging import HubLogger
from postage.green.amqp.properties import Properties
from postage.green.pipelining import current_pipeline
from postage.green.rpc.replying import EncodedReply, encoded_reply, send_reply
from postage.green.runtime import Runtime, runtime_of
from postage.green.subscription import Subscription
from postage.green.topology import QueueDeclaration, Topology, declaration_of, merged_options
from postage.log_records import counted, place_of
from postage.settings import Hup, Settings, enable_debug_log, live
from postage.values import MAX_BODY, MAX_SHORT_INT, check_values

__all__ = ["GenericConsumer", "OnEnd"]

logger = HubLogger(__name__)

Callback = Callable[[DeliveryChannel, Delivery, Properties, bytes], object]
OnEnd = Callable[[Exception | None], object]
"""Called with the error that has ended a component, or with None."""


class GenericConsumer:
    """Listens to the queues in an *eqk*: ``[(Exchange, [(queue, key), ...]), ...]``.

    A queue is a name, or ``{"name": ..., "flags": {...}}`` with the flags of queue.declare:
    ``durable`` (True unless exclusive), ``auto_delete``, ``exclusive``, ``arguments``, ``passive``
    (use the queue as it is).  A passive queue with the key None is not even bound, so its user
    needs only the permission to read it.  Making a consumer connects and declares; it raises
    `ConnectionFailed`, or `TopologyMismatch` if a queue or exchange exists with other flags.

    If the connection or the channel is lost while it consumes, or if the broker ends a consumer, it
    declares all its queues again and consumes again.

    *settings* say where the broker is.  They replace *hup*, *vhost*, the class attributes and the
    environment.
    """

    eqk: Eqk = ()
    """The queues of a consumer whose constructor gets no *eqk*."""
    encoder_class: type[Encoder] = JsonEncoder
    vhost: str | None = None
    """The virtual host; None: ``messaging.global_vhost``."""
    hup: Hup | None = None
    """Host, user and password; None: ``messaging.global_hup``."""
    prefetch: int = 1
    """How many messages of a queue the broker sends before it waits for an ack; 0: no limit."""
    max_body: int | None = MAX_BODY
    """Bytes of the largest body that a processor takes; larger ones are rejected.  None: 512 MiB.
    A change takes effect when the processor starts."""
    discard_all_messages: bool = False
    """Whether to reject every message unread; may be set on the class or an instance."""

    def __init__(
        self,
        eqk: Eqk | None = None,
        hup: Hup | None = None,
        vhost: str | None = None,
        *,
        settings: Settings | None = None,
    ) -> None:
        enable_debug_log()
        check_values(self, CONSUMER)
        hup = self.hup if hup in (None, {}) else hup
        self.settings = Settings.resolve(hup, vhost or self.vhost, settings)
        self.vhost = self.settings.vhost
        self.encoder = self.encoder_class()
        self.counts: Counter[str] = Counter()
        """``lost`` channels, consumers ``cancelled`` by the broker or found ``missing`` by the
        watchdog, and ``restored``: how many times it consumed again after any of these."""
        self._topology = Topology()
        self._subscription: Subscription | None = None
        self.spare = 0
        """How many messages more than `prefetch` a processor may hold that it does not handle."""
        self.door: HubDoor | None = None
        """The way for other native threads into the hub in which it consumes; None before that."""
        self._ending: gevent.event.AsyncResult[None] = gevent.event.AsyncResult()
        self.add_eqk(eqk or self.eqk)

    def __init_subclass__(cls, **kwds: Any) -> None:
        super().__init_subclass__(**kwds)
        if "rpc_reply" in vars(cls):  # processors reply by the method that the user has overridden
            cls.reply = _reply_as_overridden  # type: ignore[assignment,method-assign]

    def __repr__(self) -> str:
        is_idle = self._subscription is None
        state = "consuming" if self.consuming else "idle" if is_idle else "waiting for the broker"
        queues = sorted(queue.name for queue in self._topology)
        return f"<{type(self).__name__} of {queues}, {state}>"

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute; raise `SettingsError` for a value that cannot be used."""
        if name in CONSUMER:
            CONSUMER[name](f"{type(self).__name__}.{name}", value)
        if name == "prefetch":
            for queue in self._topology:
                if queue.options.is_stream:
                    self._check_stream(queue.name, value)
        super().__setattr__(name, value)

    @property
    def consuming(self) -> bool:
        """True while there is a consumer on the broker for every queue."""
        return self._subscription is not None and self._subscription.consuming

    @property
    def stopping(self) -> bool:
        """True from a request to stop, or an error that ends consuming, until it has ended."""
        return self._ending.ready()

    @property
    def listens(self) -> bool:
        """True if there is any queue to listen to."""
        return any(True for _ in self._topology)

    @property
    def ending(self) -> gevent.event.AsyncResult[None]:
        """Ready while `stopping`; has the error that ends consuming, if there is one."""
        return self._ending

    @property
    def qk_list(self) -> list[tuple[str, Key]]:
        """The names of the bound queues, each with its key."""
        return self._topology.queues_and_keys

    @property
    def bindings(self) -> list[Binding]:
        """The bindings, with the names of their queues on the broker."""
        return [
            Binding(exchange, queue.name, key)
            for queue in self._topology
            for exchange, key in queue.bindings
        ]

    @property
    def _runtime(self) -> Runtime:
        return runtime_of(self.settings)

    @property
    def copies(self) -> Copies:
        """What recognises messages that this process handles, or has handled."""
        return self._runtime.copies

    def settles_copy(self, delivery: Delivery, resume: Callable[[], object] | None = None) -> bool:
        """Acknowledge a message that this process has handled before; return whether it has.

        If its handlers still run, calls *resume* later, in the hub, and returns True.  For
        deliveries that are redelivered or `TYPED`.  Never switches.
        """
        if resume is not None and self.copies.put_off(delivery, resume):
            return True
        if not self.copies.take(delivery):
            return False
        self.counts["duplicates"] += 1
        text, sort = "%r acknowledges messages that it has handled before.", counted(id(self))
        logger.info(text, self, extra=sort)
        delivery.ack()
        return True

    # --- topology

    def add_eqk(self, eqk: Eqk) -> None:
        """Declare and bind the queues in *eqk*; while consuming, consume from them, too.

        Switches.  Raises what making a consumer raises.
        """
        queues: dict[Any, QueueDeclaration] = {}
        for binding in bindings_of(eqk):
            queue = self._declaration_of(binding.queue)
            identity = queue.requested_name, repr(queue.flags)
            # The broker chooses a name for each nameless queue, so they are different queues.
            key = identity if queue.requested_name else len(queues)
            known = queues.setdefault(key, queue)
            known.options = merged_options(known, queue)
            if binding.is_bound:
                known.bindings[binding.exchange, binding.key] = None
        for queue in queues.values():
            self._declare(queue)

    def queue_bind(
        self, exchange_class: type[Exchange], queue: QueueSpec, key: Key, **flags: Any
    ) -> None:
        """Declare *exchange_class* and *queue* (with *flags*), and bind them by *key*.

        Switches.  While consuming, consumes from *queue*, too.  Raises what `add_eqk` raises.
        """
        check_binding(exchange_class, key)
        declared = self._declaration_of(queue, flags)
        declared.bindings[exchange_class, key] = None
        self._declare(declared)

    def _declaration_of(
        self, queue: QueueSpec, flags: Mapping[str, Any] = MappingProxyType({})
    ) -> QueueDeclaration:
        declared = declaration_of(queue, flags)
        if declared.options.is_stream:
            self._check_stream(declared.name, self.prefetch)
            if live.sandbox is not None:  # the embedded broker has no streams
                declared.flags = {"passive": True}
        return declared

    def _check_stream(self, name: str, prefetch: int) -> None:
        if not prefetch:
            raise SettingsError(
                f"queue {name!r} is a stream, which needs a prefetch: set {type(self).__name__}."
                f"prefetch, or that of its processor, to 1 or more"
            )

    def _declare(self, queue: QueueDeclaration) -> None:
        runtime, pipeline = self._runtime, current_pipeline()
        consuming = runtime.pair.consuming
        # If another connection holds an exclusive queue, the constructor must raise the error.
        may_wait = queue.requested_name and not queue.flags.get("exclusive")
        if pipeline is not None and may_wait and self._subscription is None:
            consuming.get()  # the constructor must raise the error if there is no connection
            declare = partial(declare_queue, queue=queue)
            pipeline.add(runtime, partial(consuming.carry_out, declare))
            self._topology.add(queue)
            return

        def declare_alone(connection: Connection) -> None:
            with runtime.declare_gate.acquire():
                declare_queue(connection, queue)

        consuming.carry_out(declare_alone)
        known = self._topology.add(queue)
        if self._subscription is not None:
            self._subscription.add(known)

    def queue_unbind(self, exchange_class: type[Exchange], queue: QueueSpec, key: Key) -> None:
        """Remove a binding; messages that are already in the queue are still consumed.

        Switches.  Raises `ChannelRefused`, `ConnectionLost` or `OperationTimeout`, and what
        connecting raises.
        """
        check_binding(exchange_class, key)
        name, _ = queue_name_and_flags(queue)
        # Before the broker, because a recovery that runs meanwhile would bind it again.
        self._topology.discard_binding(exchange_class, name, key)
        pair = self._runtime.pair
        pair.wait_declared(self.settings.operation_timeout)
        with pair.rebinding.lock, pair.consuming.get().lease() as channel:
            channel.queue_unbind(name, exchange_class.name, key)

    def rename_queue(self, name: str, new_name: str, keys: Mapping[str, str]) -> None:
        """Declare the queue *name* as *new_name* from now on; *keys* replace keys of its bindings.

        For a consumer that does not consume yet.  The broker is told when it starts.
        """
        self._topology.rename(name, new_name, keys)

    def cancel(self, queue: QueueSpec) -> None:
        """Stop consuming from *queue*, and keep its bindings, which others may need; switches."""
        name, _ = queue_name_and_flags(queue)
        known = self._topology.discard(name)
        if known is not None and self._subscription is not None:
            self._subscription.remove(known)

    # --- consuming

    def start_consuming(self, callback: Callback) -> None:
        """Call ``callback(channel, method, header, body)`` for each message until `stop_consuming`.

        Runs the callbacks in the calling greenlet, one after the other.  If the connection is lost,
        waits for another one without a time limit, and consumes again.  Raises:

        - the exceptions of callbacks;
        - errors that a retry would not change, such as `TopologyMismatch`;
        - `ConnectionClosed` if our own side has closed the connection;
        - `HandlerError` if the callback is async or a generator.
        """
        refuse_lazy(callback)
        if not self.listens:
            logger.warning("%r listens to no queue: give it an eqk.", self)
        inbox: gevent.queue.SimpleQueue[Delivery | None] = gevent.queue.SimpleQueue()

        def receive(delivery: Delivery) -> None:
            if self.discard_all_messages:
                delivery.reject(requeue=False)
            elif self._ending.ready():
                delivery.give_back()
            else:
                inbox.put(delivery)

        self._start(receive, lambda _error: inbox.put(None), max_body=None)
        try:
            while not self._ending.ready() and (delivery := inbox.get()) is not None:
                self._hand_over(delivery, callback)
            self._ending.get()
        finally:
            while not inbox.empty():
                if (delivery := inbox.get()) is not None:
                    delivery.give_back()
            self.stop()

    def _hand_over(self, delivery: Delivery, callback: Callback) -> None:
        if self._ending.ready():
            delivery.give_back()
        elif delivery.channel.alive and self._is_readable(delivery):
            may_be_copy = delivery.redelivered or delivery.header[1] & TYPED
            if not (may_be_copy and self.settles_copy(delivery)):
                callback(delivery.channel, delivery, delivery.properties, delivery.body)

    def _is_readable(self, delivery: Delivery) -> bool:
        """Reject a delivery that the callback could not read; return whether it can.

        Otherwise the callback would raise the error, and the message would come again.
        """
        try:
            _ = delivery.body, delivery.properties.headers
        except MalformedMessage as exc:
            self.counts["malformed"] += 1
            extra = counted(type(self).__name__, *place_of(exc))
            logger.error("%r rejected a malformed message: %s", self, exc, extra=extra)  # noqa: TRY400 - it is not our error
            delivery.reject(requeue=False)
            return False
        return True

    def stop_consuming(self) -> None:
        """Ask `start_consuming` to return; never switches, and may be called anywhere, and twice.

        If it was called first, `start_consuming` returns at once.
        """
        if self.door is not None and native_thread() != self.door.thread:
            self.door.call(self.stop_consuming)
        elif not self._ending.ready():
            self._ending.set()

    def start(self, on_delivery: OnDelivery, on_end: OnEnd | None = None) -> None:
        """Start to consume from every queue, now or as soon as there is a connection.

        Never switches.  *on_delivery* is called in the hub and must not block.  If the channel of a
        delivery ends before the message is handled, the broker delivers the message again.
        *on_end* is called in the hub, with None after `stop_consuming`, or with the error that ends
        consuming.  A body over `max_body` is dropped as it arrives: reading it raises
        `MalformedMessage`.
        """
        self._start(on_delivery, on_end, max_body=self.max_body)

    def _start(
        self, on_delivery: OnDelivery, on_end: OnEnd | None, *, max_body: int | None
    ) -> None:
        if self._subscription is not None:
            raise AssertionError(f"{self!r} runs already; it can be started again after its end")
        if on_end is not None:
            self._ending.rawlink(lambda ending: on_end(cast("Exception | None", ending.exception)))
        self.door = hub_door()
        arguments = self._runtime, self._topology, on_delivery, self._fail, self.counts
        self._subscription = Subscription(*arguments)
        limits = {"prefetch": self._full_prefetch, "max_body": max_body, "note": self.copies.note}
        self._subscription.limits = limits
        self._subscription.start()

    @property
    def _full_prefetch(self) -> int:
        return self.prefetch and min(MAX_SHORT_INT, self.prefetch + self.spare)

    @property
    def is_held(self) -> bool:
        """Whether `hold` was called, and `resume` not since then."""
        return self._topology.is_held

    def hold(self) -> None:
        """Consume nothing until `resume`, except from queues that would end with their consumers.

        Messages that were delivered can still be settled, and others may arrive for a moment.
        Never switches, and may be called at any time, and twice.
        """
        self._topology.is_held = True
        if self._subscription is not None:
            self._subscription.hold()

    def resume(self, prefetch: int | None = None) -> None:
        """Consume again after `hold`, by default with the usual prefetch; never switches."""
        self._topology.is_held = False
        if self._subscription is not None:
            full = self._full_prefetch
            self._subscription.resume(full if prefetch is None else prefetch)

    def cancel_consumers(self) -> None:
        """Cancel the consumers, without waiting; delivered messages can still be acknowledged."""
        self.stop_consuming()
        if self._subscription is not None:
            self._subscription.stop()

    def stop(self, limit: float = 5.0) -> None:
        """End the consumers, and requeue delivered messages that are not acknowledged; switches.

        Waits at most *limit* seconds for a broker that does not answer.
        """
        subscription, self._subscription = self._subscription, None
        try:
            if subscription is not None:
                subscription.close(limit)
        finally:
            self._ending = gevent.event.AsyncResult()

    def _fail(self, error: Exception) -> None:
        if not self._ending.ready():
            self._ending.set_exception(error)

    # --- for callbacks

    def queue_of(self, method: Delivery) -> str:
        """Return the name of the queue of a message; empty if its consumer has ended."""
        subscription = self._subscription
        return "" if subscription is None else subscription.queue_of(method.consumer_tag)

    @property
    def declarations(self) -> list[QueueDeclaration]:
        """The queues as they were declared."""
        return [*self._topology]

    def declaration_of(self, method: Delivery) -> QueueDeclaration | None:
        """Return how the queue of a message was declared; None if its consumer has ended."""
        # A consumer that is held has ended, but handlers may still have its messages.
        name = self.queue_of(method) or getattr(method, "origin", "")
        return self._topology.get(name) if name else None

    def ack(self, method: Delivery) -> None:
        """Acknowledge a message; never switches.  If its channel has ended, only counts the ack."""
        if method.channel.withdrawn:
            self.copies.leave(method)
        method.ack()

    def reject(self, method: Delivery, requeue: bool) -> None:  # noqa: FBT001 - the classic signature
        """Reject a message, and return it to its queue if *requeue*; never switches."""
        method.reject(requeue=requeue)

    def decode(self, data: bytes) -> Any:
        """Return the decoded *data*; raises `DecodingError`."""
        return self.encoder.decode(data)

    def rpc_reply(self, header: Properties, message: Any) -> None:
        """Reply to the RPC with the properties *header* by a result message or any value.

        Switches only while the broker takes no data.  Raises `EncodingError`.  If the request has
        no ``reply_to``, the reply is logged and dropped.

        In another native thread than that of the consumer, hands the encoded reply over and returns
        at once.  If it cannot be sent then, it is logged and counted as ``lost_reply``.
        """
        GenericConsumer.reply(self, header, message, None)

    def reply(self, header: Properties, message: Any, deadline: Deadline | None) -> None:
        """Do `rpc_reply`; wait for a connection no longer than the caller does, until *deadline*.

        As soon as the consumer stops, does not wait for one at all.
        """
        reply, door = encoded_reply(self.encoder, header, message), self.door
        if door is None or native_thread() == door.thread:
            send_reply(self._runtime.pair, reply, deadline, self._ending)
        elif not door.call(self.send_reply, reply, deadline):
            raise ConnectionClosed("the native thread of this consumer has ended")

    def send_reply(self, reply: EncodedReply, deadline: Deadline | None) -> None:
        """Send an encoded reply as `reply` does; count and log it if it is lost."""
        try:
            send_reply(self._runtime.pair, reply, deadline, self._ending)
        except PostageError as exc:
            self.counts["lost_reply"] += 1
            logger.warning("A reply was lost: %s", exc, extra=counted(type(exc).__name__))


def _reply_as_overridden(
    consumer: GenericConsumer, header: Properties, message: Any, _deadline: Deadline | None
) -> None:
    consumer.rpc_reply(header, message)
