"""A channel, seen from the broker: what a client calls on it, and what it holds unacknowledged."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from postage.broker.core.queue import BrokerQueue
from postage.broker.core.queue_arguments import consumer_priority
from postage.broker.core.routing import BrokerBinding
from postage.broker.fastpath.header_scan import REPLY_TO
from postage.broker.session.client_consumer import ClientConsumer, Unacked, counted_header
from postage.broker.session.publisher import Publisher
from postage.broker.session.transaction import Transaction
from postage.broker.wire.exceptions import ChannelFault, ConnectionFault
from postage.broker.wire.framing import message_frames, method_start
from postage.broker.wire.methods import MethodCall, encode

if TYPE_CHECKING:
    from postage.broker.session.client_connection import ClientConnection

__all__ = ["ClientChannel"]

_GET_OK = struct.pack(">HH", 60, 71)
_TAG = struct.Struct(">QB")


class ClientChannel:
    """One channel of a connection; `handle` carries out what the client calls."""

    def __init__(self, connection: ClientConnection, number: int) -> None:
        self.connection, self.number = connection, number
        self.vhost = connection.vhost
        self.closing = False
        """True from our channel.close to the client's close-ok: everything else is ignored."""
        self.consumers: dict[str, ClientConsumer] = {}
        self.unacked: dict[int, Unacked] = {}
        self.last_tag = 0
        """The tag of the last delivery, and how many there were."""
        self.out = 0
        """Unsettled deliveries to consumers: those of basic.get have no limit."""
        self.prefetch = 0
        """The most of them for all consumers together; 0: any number."""
        self.transaction: Transaction[Unacked] | None = None
        self.reply_key: str | None = None
        """What reaches the consumer of direct replies, if there is one."""
        self.publisher = Publisher(self)
        self._consumer_prefetch = self._tags = 0
        self._last_queue = ""

    # --- what consumers and the connection ask

    def send(self, name: str, **arguments: Any) -> None:
        """Write a method."""
        self.connection.write(encode(self.number, name, **arguments))

    def write_message(self, method: bytes, header: bytes, body: bytes) -> None:
        """Write a method that carries a message, as one piece."""
        start = method_start(self.number, len(method))
        frame_max = self.connection.frame_max
        self.connection.write(message_frames(self.number, (start, method), header, body, frame_max))

    def consumer_cancelled(self, consumer: ClientConsumer) -> None:
        """The broker ends *consumer*."""
        known = self.consumers.pop(consumer.tag, None) is not None and not self.closing
        if known and self.connection.capability("consumer_cancel_notify"):
            self.send("basic.cancel", consumer_tag=consumer.tag, nowait=True)

    def close(self) -> None:
        """End: consumers go, and what is unacknowledged goes back to its queue."""
        if not self.closing:
            self.connection.deliveries += self.last_tag
        self.closing = True
        for consumer in list(self.consumers.values()):
            self._remove_consumer(consumer)
        if self.reply_key is not None:
            self.vhost.reply_consumers.pop(self.reply_key, None)
        if self.transaction is not None:
            self._roll_back(self.transaction)
        self._requeue(self._taken(list(self.unacked)))

    # --- methods, by name

    def handle(self, call: MethodCall) -> None:
        """Carry out *call*; raises `Fault`."""
        name = call.method.name.replace(".", "_")
        handler = getattr(self, f"_on_{name}", None)
        if handler is None:
            raise ConnectionFault(503, "unimplemented method")
        handler(call)

    def _answer(self, call: MethodCall, name: str, **arguments: Any) -> None:
        if not getattr(call, "nowait", False):
            self.send(name, **arguments)

    def _on_channel_flow(self, call: MethodCall) -> None:
        if not call.active:
            raise ConnectionFault(540, "active=false")
        self.send("channel.flow_ok", active=True)

    def _on_exchange_declare(self, call: MethodCall) -> None:
        self.vhost.declare_exchange(call)
        self._answer(call, "exchange.declare_ok")

    def _on_exchange_delete(self, call: MethodCall) -> None:
        self.vhost.delete_exchange(call.exchange, if_unused=call.if_unused)
        self._answer(call, "exchange.delete_ok")

    def _on_exchange_bind(self, call: MethodCall) -> None:
        binding = BrokerBinding("exchange", call.destination, call.routing_key, call.arguments)
        self.vhost.bind(call.source, binding, self.connection)
        self._answer(call, "exchange.bind_ok")

    def _on_exchange_unbind(self, call: MethodCall) -> None:
        binding = BrokerBinding("exchange", call.destination, call.routing_key, call.arguments)
        self.vhost.unbind(call.source, binding, self.connection)
        self._answer(call, "exchange.unbind_ok")

    def _on_queue_declare(self, call: MethodCall) -> None:
        queue = self.vhost.declare_queue(call, self.connection)
        self._last_queue = queue.name
        self._answer(
            call,
            "queue.declare_ok",
            queue=queue.name,
            message_count=len(queue),
            consumer_count=len(queue.consumers),
        )

    def _queue(self, name: str) -> BrokerQueue:
        return self.vhost.queue(self._queue_name(name), self.connection)

    def _queue_name(self, name: str) -> str:
        """Return *name*; the empty one stands for the queue last declared here."""
        if not name and not self._last_queue:
            raise ChannelFault(404, "no previously declared queue")
        return name or self._last_queue

    def _binding(self, call: MethodCall) -> BrokerBinding:
        name = self._queue_name(call.queue)
        key = call.routing_key if call.routing_key or call.queue else name
        return BrokerBinding("queue", name, key, call.arguments)

    def _on_queue_bind(self, call: MethodCall) -> None:
        self.vhost.bind(call.exchange, self._binding(call), self.connection)
        self._answer(call, "queue.bind_ok")

    def _on_queue_unbind(self, call: MethodCall) -> None:
        self.vhost.unbind(call.exchange, self._binding(call), self.connection)
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
        if call.global_:
            self.prefetch = call.prefetch_count
            self.dispatch()
        else:
            self._consumer_prefetch = call.prefetch_count
        self.send("basic.qos_ok")

    def dispatch(self) -> None:
        """Serve the consumers of this channel: something has changed for them."""
        for consumer in list(self.consumers.values()):
            if consumer.queue is not None:
                consumer.queue.dispatch()

    def _on_basic_consume(self, call: MethodCall) -> None:
        name, tag = self._queue_name(call.queue), call.consumer_tag or self._new_tag()
        if tag in self.consumers:
            raise ConnectionFault(530, f"attempt to reuse consumer tag '{tag}'")
        consumer = ClientConsumer(self, tag, call, self._consumer_prefetch)
        if call.queue == REPLY_TO:
            self._consume_replies(consumer)
            self._answer(call, "basic.consume_ok", consumer_tag=tag)
            return
        queue = self.vhost.queue(name, self.connection)
        consumer.priority = consumer_priority(call.arguments, queue.name, self.vhost.name)
        taken = any(each.exclusive for each in queue.consumers)
        alone = not queue.consumers and not queue.options.single_active
        if taken or (consumer.exclusive and not alone):
            raise ChannelFault(
                403, f"queue '{queue.name}' in vhost '{self.vhost.name}' in exclusive use"
            )
        consumer.queue = queue
        self.consumers[tag] = consumer
        self._answer(call, "basic.consume_ok", consumer_tag=tag)
        queue.add_consumer(consumer)
        queue.dispatch()

    def _new_tag(self) -> str:
        self._tags += 1
        return f"amq.ctag-{self.connection.id}.{self.number}-{self._tags}"

    def _consume_replies(self, consumer: ClientConsumer) -> None:
        if not consumer.no_ack:
            raise ChannelFault(406, "reply consumer cannot acknowledge")
        if self.reply_key is not None:
            raise ChannelFault(406, "reply consumer already set")
        self.reply_key = f"{REPLY_TO}.{self.connection.id}.{self.number}"
        self.vhost.reply_consumers[self.reply_key] = consumer
        self.consumers[consumer.tag] = consumer

    def _on_basic_cancel(self, call: MethodCall) -> None:
        consumer = self.consumers.get(call.consumer_tag)
        if consumer is not None:
            self._remove_consumer(consumer)
        self._answer(call, "basic.cancel_ok", consumer_tag=call.consumer_tag)

    def _remove_consumer(self, consumer: ClientConsumer) -> None:
        self.consumers.pop(consumer.tag, None)
        queue = consumer.queue
        if queue is None:
            self.vhost.reply_consumers.pop(self.reply_key or "", None)
            self.reply_key = None
            return
        queue.remove_consumer(consumer)
        self.vhost.consumer_left(queue)
        queue.dispatch()

    def _on_basic_get(self, call: MethodCall) -> None:
        queue = self._queue(call.queue)
        entry = queue.get()
        if entry is None:
            self.send("basic.get_empty")
            return
        self.last_tag += 1
        if call.no_ack:
            queue.forget(entry)
        else:
            queue.unacked += 1
            self.unacked[self.last_tag] = (queue, entry, None)
        tag = _TAG.pack(self.last_tag, entry.redelivered)
        left = len(queue).to_bytes(4, "big")
        header = counted_header(entry) if queue.counts else entry.header
        self.write_message(_GET_OK + tag + entry.address + left, header, entry.body)

    # --- settling

    def _on_basic_ack(self, call: MethodCall) -> None:
        self._settle(call.delivery_tag, self._ack, multiple=call.multiple)

    def _on_basic_nack(self, call: MethodCall) -> None:
        how = self._requeue if call.requeue else self._discard
        self._settle(call.delivery_tag, how, multiple=call.multiple)

    def _on_basic_reject(self, call: MethodCall) -> None:
        how = self._requeue if call.requeue else self._discard
        self._settle(call.delivery_tag, how, multiple=False)

    def _tags_of(self, tag: int, *, multiple: bool) -> list[int]:
        """Return the tags that a settlement means; 406 for one that is not out."""
        if multiple and not tag:
            return list(self.unacked)
        if tag not in self.unacked:
            raise ChannelFault(406, f"unknown delivery tag {tag}")
        return list(self._up_to(tag)) if multiple else [tag]

    def _up_to(self, tag: int) -> Iterator[int]:
        for each in self.unacked:  # in the order of the tags
            if each > tag:
                return
            yield each

    def _settle(self, tag: int, how: Callable[[list[Unacked]], None], *, multiple: bool) -> None:
        tags = self._tags_of(tag, multiple=multiple)
        if self.transaction is None:
            how(self._taken(tags))
        else:
            self.transaction.settle(how, {each: self.unacked.pop(each) for each in tags})

    def _taken(self, tags: list[int]) -> list[Unacked]:
        return [self.unacked.pop(each) for each in tags]

    def acknowledge(self, tag: int) -> bool:
        """Take one delivery for settled; tell whether there was such a one."""
        held = self.unacked.pop(tag, None)
        if held is None:
            return False
        queue, entry, consumer = held
        queue.unacked -= 1
        if consumer is not None:
            self.out -= 1
            consumer.unacked -= 1
        queue.forget(entry)
        if self.consumers:
            queue.dispatch()
            if self.prefetch:
                self.dispatch()
        return True

    def _ack(self, settled: list[Unacked]) -> None:
        self._release(settled)
        for queue, entry, _ in settled:
            queue.forget(entry)
        if self.consumers:
            self._serve(settled)

    def _discard(self, settled: list[Unacked]) -> None:
        self._release(settled)
        for queue, entry, _ in settled:
            if self.vhost.queues.get(queue.name) is queue:
                queue.drop(entry, "rejected")
            else:
                queue.forget(entry)
        self._serve(settled)

    def _requeue(self, settled: list[Unacked]) -> None:
        self._release(settled)
        for queue, entry, _ in reversed(settled):
            if self.vhost.queues.get(queue.name) is queue:
                queue.requeue(entry)
            else:
                queue.forget(entry)
        self._serve(settled)

    def _release(self, settled: list[Unacked]) -> None:
        """Count the deliveries as settled; there is room for others then."""
        for queue, _, consumer in settled:
            queue.unacked -= 1
            if consumer is not None:
                self.out -= 1
                consumer.unacked -= 1

    def _serve(self, settled: list[Unacked]) -> None:
        for queue in {id(queue): queue for queue, _, _ in settled}.values():
            queue.dispatch()
        if self.prefetch:
            self.dispatch()

    def _on_basic_recover(self, call: MethodCall) -> None:
        self._on_basic_recover_async(call)
        self.send("basic.recover_ok")

    def _on_basic_recover_async(self, call: MethodCall) -> None:
        if not call.requeue:
            raise ConnectionFault(540, "requeue=false")
        self._requeue(self._taken(list(self.unacked)))

    # --- confirms and transactions

    def _on_confirm_select(self, call: MethodCall) -> None:
        if self.transaction is not None:
            raise ChannelFault(406, "cannot switch from tx to confirm mode")
        self.publisher.confirms = True
        self._answer(call, "confirm.select_ok")

    def _on_tx_select(self, call: MethodCall) -> None:  # noqa: ARG002
        if self.publisher.confirms:
            raise ChannelFault(406, "cannot switch from confirm to tx mode")
        if self.transaction is None:
            self.transaction = Transaction()
        self.send("tx.select_ok")

    def _on_tx_commit(self, call: MethodCall) -> None:  # noqa: ARG002
        self._running().commit()
        self.send("tx.commit_ok")

    def _on_tx_rollback(self, call: MethodCall) -> None:  # noqa: ARG002
        self._roll_back(self._running())
        self.send("tx.rollback_ok")

    def _running(self) -> Transaction[Unacked]:
        if self.transaction is None:
            raise ChannelFault(406, "channel is not transactional")
        return self.transaction

    def _roll_back(self, transaction: Transaction[Unacked]) -> None:
        again = {**self.unacked, **transaction.roll_back()}
        self.unacked = dict(sorted(again.items()))
