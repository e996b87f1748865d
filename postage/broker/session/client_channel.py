"""A channel of a client: the methods that the client calls, and its unacknowledged deliveries."""

from __future__ import annotations

import secrets
import struct
from collections.abc import Callable
from itertools import takewhile
from typing import Any

from postage.broker.core.costs import CHANNEL, HELD_STEP
from postage.broker.core.declarations import place
from postage.broker.core.queue import BrokerQueue, QueuedMessage, Return
from postage.broker.core.queue_arguments import ConsumerArguments
from postage.broker.core.routing import BrokerBinding
from postage.broker.core.validation import REPLY_TO
from postage.broker.core.vhost import VHost
from postage.broker.session.base_channel import (
    GONE,
    BaseChannel,
    Outlet,
    Transaction,
    Unacked,
    in_losing_order,
    in_settling_order,
)
from postage.broker.session.client_consumer import ClientConsumer
from postage.broker.session.delivery_watch import DeliveryWatch, Recipient
from postage.broker.wire.exceptions import ChannelFault, ConnectionFault
from postage.broker.wire.methods import METHODS, MethodCall
from postage.log_records import counted, logger_of, place_of
from postage.protocol import BASIC, method_id

__all__ = ["CHANNEL_METHODS", "ClientChannel"]

logger = logger_of(__name__)

_GET_OK = method_id(BASIC, 71)
_TAG = struct.Struct(">QB")


class ClientChannel(BaseChannel):
    """One channel; `CHANNEL_METHODS` are its handlers of methods."""

    def __init__(self, outlet: Outlet, number: int, vhost: VHost) -> None:
        super().__init__(outlet, number, vhost)
        self.consumers: dict[str, ClientConsumer] = {}
        """Its consumers by tag."""
        self._consumer_prefetch = 0
        self._watch: DeliveryWatch | None = None
        """Watches the deliveries to consumers that have a timeout, once there is any."""
        self._last_queue = ""

    def open(self) -> None:
        """Charge for the channel; raises 506 if there are too many."""
        try:
            self.vhost.define(CHANNEL)
        except ChannelFault as exc:
            raise ConnectionFault(506, "too many channels and queues: a limit is reached") from exc
        self.vhost.channels.add(self)

    def forget(self) -> None:
        """Release the charge for the channel, which has been closed."""
        self.vhost.channels.discard(self)
        self.vhost.define(-CHANNEL)

    def close(self) -> None:
        """Remove all consumers, and put unacknowledged messages back into their queues."""
        if not self.closing:
            self.outlet.deliveries += self.last_tag
        self.closing = True
        if self._watch is not None:
            self._watch.close()
        self.vhost.remove_consumers(self.take_consumers())
        if self.transaction is not None:
            self._roll_back(self.transaction)
        by_tag = self.vhost.likeness.loses_by_tag
        self.unacked = in_losing_order(self.unacked, by_tag=by_tag)
        self._settle_all(self._lose, "the requeue of deliveries")

    def take_consumers(self) -> list[ClientConsumer]:
        """Forget all consumers; return those that their queues still have to forget."""
        taken = list(self.consumers.values())
        for consumer in taken:
            self._drop_consumer(consumer)
        if self.reply_key is not None:
            self.vhost.reply_consumers.pop(self.reply_key, None)
            self.reply_key = None
        return [consumer for consumer in taken if consumer.queue is not None]

    def _answer(self, call: MethodCall, name: str, **arguments: Any) -> None:
        if not getattr(call, "nowait", False):
            self.send(name, **arguments)

    def _on_channel_flow(self, call: MethodCall) -> None:
        if not call.active:
            raise ConnectionFault(540, "active=false")
        self.send("channel.flow_ok", active=True)

    # --- exchanges

    def _on_exchange_declare(self, call: MethodCall) -> None:
        self.vhost.declare_exchange(call)
        self._answer(call, "exchange.declare_ok")

    def _on_exchange_delete(self, call: MethodCall) -> None:
        self.vhost.delete_exchange(call.exchange, if_unused=call.if_unused)
        self._answer(call, "exchange.delete_ok")

    def _on_exchange_bind(self, call: MethodCall) -> None:
        binding = BrokerBinding("exchange", call.destination, call.routing_key, call.arguments)
        self.vhost.bind(call.source, binding, self.outlet)
        self._answer(call, "exchange.bind_ok")

    def _on_exchange_unbind(self, call: MethodCall) -> None:
        binding = BrokerBinding("exchange", call.destination, call.routing_key, call.arguments)
        self.vhost.unbind(call.source, binding, self.outlet)
        self._answer(call, "exchange.unbind_ok")

    # --- queues

    def _on_queue_declare(self, call: MethodCall) -> None:
        if call.queue == REPLY_TO:  # answered as RabbitMQ does: FastStream and others look for it
            self._last_queue = REPLY_TO
            counts = {"message_count": 0, "consumer_count": 1}
            self._answer(call, "queue.declare_ok", queue=REPLY_TO, **counts)
            return
        queue = self.vhost.declare_queue(call, self.outlet)
        self._last_queue = queue.name
        self._answer(
            call,
            "queue.declare_ok",
            queue=queue.name,
            message_count=len(queue),
            consumer_count=queue.consumer_count,
        )

    def _queue(self, name: str) -> BrokerQueue:
        return self.vhost.queue(self._queue_name(name), self.outlet)

    def _queue_name(self, name: str) -> str:
        """Return *name*; the empty name stands for the queue last declared on this channel."""
        if not name and not self._last_queue:
            raise ChannelFault(404, "no previously declared queue")
        return name or self._last_queue

    def _binding(self, call: MethodCall) -> BrokerBinding:
        name = self._queue_name(call.queue)
        key = call.routing_key if call.routing_key or call.queue else name
        return BrokerBinding("queue", name, key, call.arguments)

    def _on_queue_bind(self, call: MethodCall) -> None:
        self.vhost.bind(call.exchange, self._binding(call), self.outlet)
        self._answer(call, "queue.bind_ok")

    def _on_queue_unbind(self, call: MethodCall) -> None:
        self.vhost.unbind(call.exchange, self._binding(call), self.outlet)
        self._answer(call, "queue.unbind_ok")

    def _on_queue_purge(self, call: MethodCall) -> None:
        self._answer(call, "queue.purge_ok", message_count=self._queue(call.queue).purge())

    def _on_queue_delete(self, call: MethodCall) -> None:
        name, count = self._queue_name(call.queue), 0
        if name in self.vhost.queues:
            queue = self._queue(name)
            count = self.vhost.delete_queue(queue, if_unused=call.if_unused, if_empty=call.if_empty)
        self._answer(call, "queue.delete_ok", message_count=count)

    # --- consuming

    def _on_basic_qos(self, call: MethodCall) -> None:
        if call.prefetch_size:
            raise ConnectionFault(540, f"prefetch_size!=0 ({call.prefetch_size})")
        is_global = call.global_ and self.vhost.likeness.global_qos
        if not is_global:
            self._consumer_prefetch = call.prefetch_count
        if is_global or self.prefetch:  # as in RabbitMQ, the limit of a consumer lifts that one
            self.prefetch = call.prefetch_count if is_global else 0
            self._dispatch()
        self.send("basic.qos_ok")

    def _dispatch(self) -> None:
        """Serve the queues of this channel's consumers, because the prefetch limit allows it."""
        queues = {id(each.queue): each.queue for each in self.consumers.values()}
        for queue in queues.values():
            if queue is not None:
                queue.dispatch()

    def _on_basic_consume(self, call: MethodCall) -> None:
        name, tag = self._queue_name(call.queue), call.consumer_tag
        if not tag:
            tag = f"amq.ctag-{secrets.token_urlsafe(16)}"
        if tag in self.consumers:
            raise ConnectionFault(530, f"attempt to reuse consumer tag '{tag}'")
        consumer = ClientConsumer(self, tag, call, self._consumer_prefetch, self._cancelled)
        if name == REPLY_TO:
            self._consume_replies(consumer)
            self._answer(call, "basic.consume_ok", consumer_tag=tag)
            return
        queue = self.vhost.queue(name, self.outlet)
        arguments = ConsumerArguments.parse(
            call.arguments, queue.name, self.vhost.name, queue.options.type, self.vhost.likeness
        )
        consumer.priority = arguments.priority
        if queue.options.type == "quorum":
            self._check_global_qos(queue)
            consumer.exclusive = False  # RabbitMQ ignores it there
        alone = not queue.consumer_count and not queue.options.single_active
        if queue.has_exclusive_consumer or (consumer.exclusive and not alone):
            raise ChannelFault(
                403, f"queue '{queue.name}' in vhost '{self.vhost.name}' in exclusive use"
            )
        consumer.queue = queue
        self._add_consumer(consumer)
        own, common = arguments.timeout, queue.options.consumer_timeout
        if (timeout := common if own is None else own) is not None:
            consumer.watch, consumer.timeout = self._delivery_watch(), timeout
        self._answer(call, "basic.consume_ok", consumer_tag=tag)
        queue.add_consumer(consumer)
        queue.dispatch()

    def _check_global_qos(self, queue: BrokerQueue) -> None:
        if self.prefetch:
            where = place("queue", queue.name, self.vhost.name)
            raise ConnectionFault(540, f"{where} does not support global qos")

    def _delivery_watch(self) -> DeliveryWatch:
        if self._watch is None:
            timers = self.vhost.timers
            self._watch = DeliveryWatch(timers, lambda: self.unacked, self._time_out)
        return self._watch

    def _time_out(self, tag: int, recipient: Recipient) -> None:
        """Give back the delivery *tag*, which was not settled in time, and cancel its consumer.

        The client may still settle it, to no effect.
        """
        delivery = self.unacked[tag]
        if delivery[1] is GONE:
            return
        self.unacked[tag] = self._detached_queue(), GONE, None
        name, count = recipient
        consumer = self.consumers.get(name)
        if consumer is not None and consumer.count is count:
            self._cancelled(consumer)
            self.vhost.remove_consumers([consumer])
        self.vhost.backlog.each([delivery], self._give_back, "deliveries that have timed out")

    def _consume_replies(self, consumer: ClientConsumer) -> None:
        if not consumer.no_ack:
            raise ChannelFault(406, "reply consumer cannot acknowledge")
        if self.reply_key is not None:
            raise ChannelFault(406, "reply consumer already set")
        self._add_consumer(consumer)
        # Whoever knows the key can forge replies.
        self.reply_key = f"{REPLY_TO}.{secrets.token_urlsafe(16)}"
        self.vhost.reply_consumers[self.reply_key] = consumer

    def _add_consumer(self, consumer: ClientConsumer) -> None:
        self.vhost.define(consumer.cost)
        self.consumers[consumer.tag] = consumer

    def _drop_consumer(self, consumer: ClientConsumer) -> bool:
        """Forget *consumer*; return whether it was known."""
        if self.consumers.pop(consumer.tag, None) is None:
            return False
        self.vhost.define(-consumer.cost)
        return True

    def _cancelled(self, consumer: ClientConsumer) -> None:
        """Remove *consumer*, whose queue has been deleted, and tell the client."""
        known = self._drop_consumer(consumer) and not self.closing
        if known and self.outlet.capability("consumer_cancel_notify"):
            self.send("basic.cancel", consumer_tag=consumer.tag, nowait=True)

    def _on_basic_cancel(self, call: MethodCall) -> None:
        consumer = self.consumers.get(call.consumer_tag)
        if consumer is not None:
            self._remove_consumer(consumer)
        self._answer(call, "basic.cancel_ok", consumer_tag=call.consumer_tag)

    def _remove_consumer(self, consumer: ClientConsumer) -> None:
        self._drop_consumer(consumer)
        queue = consumer.queue
        if queue is None:
            self.vhost.reply_consumers.pop(self.reply_key or "", None)
            self.reply_key = None
            return
        self.vhost.remove_consumers([consumer])

    def _on_basic_get(self, call: MethodCall) -> None:
        queue = self._queue(call.queue)
        if queue.options.single_active and queue.options.type == "quorum":
            raise self.vhost.likeness.no_get(place("queue", queue.name, self.vhost.name))
        queued = queue.get()
        if queued is None:
            self.send("basic.get_empty")
            return
        self.last_tag += 1
        if call.no_ack:
            queue.discard(queued)
        else:
            queue.unacked += 1
            self.unacked[self.last_tag] = (queue, queued, None)
        tag = _TAG.pack(self.last_tag, queued.redelivered)
        left = (len(queue) if call.no_ack else queue.left).to_bytes(4, "big")
        header = queue.header_of(queued, is_got=True)
        self.send_message(_GET_OK + tag + queued.address + left, header, queued.body)

    # --- ack, nack and reject

    def _on_basic_ack(self, call: MethodCall) -> None:
        if call.multiple or self.transaction is not None:
            self._apply(call.delivery_tag, self._ack, multiple=call.multiple)
            return
        # Nearly all acks are for one delivery outside a transaction, and need no lists.
        delivery = self.unacked.pop(call.delivery_tag, None)
        if delivery is None:
            raise _unknown(call.delivery_tag)
        queue, queued, consumer = delivery
        queue.unacked -= 1
        if consumer is not None:
            self.out -= 1
            consumer.unacked -= 1
        queue.discard(queued)
        if self.consumers:
            queue.dispatch()
            if self.prefetch:
                self._dispatch()

    def _on_basic_nack(self, call: MethodCall) -> None:
        action = self._give_back if call.requeue else self._reject
        self._apply(call.delivery_tag, action, multiple=call.multiple)

    def _on_basic_reject(self, call: MethodCall) -> None:
        action = self._requeue if call.requeue else self._reject
        self._apply(call.delivery_tag, action, multiple=False)

    def _apply(self, tag: int, action: Callable[[list[Unacked]], None], *, multiple: bool) -> None:
        """Apply *action* to the deliveries that *tag* stands for, now or at the commit."""
        if tag not in self.unacked and (tag or not multiple):
            raise _unknown(tag)
        taken = self._take_until(tag or self.last_tag) if multiple else self._take(tag)
        if len(taken) > 1 and action != self._ack:
            taken = in_settling_order(taken)
        if self.transaction is None:
            self.vhost.backlog.each(taken.values(), action, "acks of deliveries")
        elif taken:
            self.transaction.charge(HELD_STEP)
            self.transaction.acks.append((action, taken))

    def _take(self, tag: int) -> dict[int, Unacked]:
        return {tag: self.unacked.pop(tag)}

    def _take_until(self, tag: int) -> dict[int, Unacked]:
        """Take the deliveries up to *tag*."""
        if not self.unacked or next(reversed(self.unacked)) <= tag:
            taken, self.unacked = self.unacked, {}
            return taken
        tags = list(takewhile(tag.__ge__, self.unacked))
        return {each: self.unacked.pop(each) for each in tags}

    def _ack(self, deliveries: list[Unacked]) -> None:
        self._uncount(deliveries)
        for queue, queued, _ in deliveries:
            queue.discard(queued)
        if self.consumers:
            self._serve(deliveries)

    def _reject(self, deliveries: list[Unacked]) -> None:
        self._settle(deliveries, lambda queue, queued: queue.dead_letter(queued, "rejected"))

    def _requeue(self, deliveries: list[Unacked]) -> None:
        self._settle(deliveries, lambda queue, queued: queue.requeue(queued, Return.REJECTED))

    def _give_back(self, deliveries: list[Unacked]) -> None:
        self._settle(deliveries, lambda queue, queued: queue.requeue(queued, Return.GIVEN_BACK))

    def _lose(self, deliveries: list[Unacked]) -> None:
        self._settle(deliveries, lambda queue, queued: queue.requeue(queued, Return.LOST))

    def _settle(
        self, deliveries: list[Unacked], settle: Callable[[BrokerQueue, QueuedMessage], None]
    ) -> None:
        """Settle each of *deliveries*; a bug that one of them meets does not concern the others."""
        self._uncount(deliveries)
        for queue, queued, _ in deliveries:
            try:
                if self.vhost.queues.get(queue.name) is queue:
                    settle(queue, queued)
                else:
                    queue.discard(queued)
            except Exception as exc:  # noqa: PERF203 - each message is settled by itself
                sort = counted(*place_of(exc))
                logger.exception(
                    "A bug in the broker lost a message of %a.", queue.name, extra=sort
                )
        self._serve(deliveries)

    def _settle_all(self, action: Callable[[list[Unacked]], None], work: str) -> None:
        unacked, self.unacked = self.unacked, {}
        self.vhost.backlog.each(unacked.values(), action, work)

    def _uncount(self, deliveries: list[Unacked]) -> None:
        """Subtract *deliveries* from the unacknowledged ones, which makes room for others."""
        for queue, _, consumer in deliveries:
            queue.unacked -= 1
            if consumer is not None:
                self.out -= 1
                consumer.unacked -= 1

    def _serve(self, deliveries: list[Unacked]) -> None:
        """Serve the queues of *deliveries*, and all queues that wait for the channel's prefetch."""
        for queue in {id(queue): queue for queue, _, _ in deliveries}.values():
            queue.dispatch()
        if self.prefetch:
            self._dispatch()

    def _on_basic_recover(self, call: MethodCall) -> None:
        self._on_basic_recover_async(call)
        self.send("basic.recover_ok")

    def _on_basic_recover_async(self, call: MethodCall) -> None:
        if not call.requeue:
            raise ConnectionFault(540, "requeue=false")
        self.unacked = in_settling_order(self.unacked)
        self._settle_all(self._give_back, "the recovery of deliveries")

    # --- confirms and transactions

    def _on_confirm_select(self, call: MethodCall) -> None:
        if self.transaction is not None:
            raise ChannelFault(406, "cannot switch from tx to confirm mode")
        self.confirms = True
        self._answer(call, "confirm.select_ok")

    def _on_tx_select(self, call: MethodCall) -> None:  # noqa: ARG002 - all handlers take it
        if self.confirms:
            raise ChannelFault(406, "cannot switch from confirm to tx mode")
        if self.transaction is None:
            self.transaction = Transaction(self.outlet.hold)
        self.send("tx.select_ok")

    def _on_tx_commit(self, call: MethodCall) -> None:  # noqa: ARG002 - all handlers take it
        self._open_transaction().commit(self.vhost.backlog, self._put_held)
        self.send("tx.commit_ok")

    def _on_tx_rollback(self, call: MethodCall) -> None:  # noqa: ARG002 - all handlers take it
        self._roll_back(self._open_transaction())
        self.send("tx.rollback_ok")

    def _open_transaction(self) -> Transaction:
        if self.transaction is None:
            raise ChannelFault(406, "channel is not transactional")
        return self.transaction

    def _roll_back(self, transaction: Transaction) -> None:
        again = transaction.roll_back()
        again.update(self.unacked)
        self.unacked = {tag: again[tag] for tag in sorted(again)}


def _unknown(tag: int) -> ChannelFault:
    return ChannelFault(406, f"unknown delivery tag {tag}")


CHANNEL_METHODS: dict[str, Callable[[ClientChannel, MethodCall], None]] = {
    name: vars(ClientChannel)[handler]
    for name in METHODS
    if (handler := f"_on_{name.replace('.', '_')}") in vars(ClientChannel)
}
"""The handlers by the name of their method; each carries out a call, and raises `Fault`."""
