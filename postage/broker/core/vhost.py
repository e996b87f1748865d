"""A virtual host: its exchanges, queues and bindings, and the route of a message through them."""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, Protocol

from postage.broker.core.backlog import AT_ONCE, Backlog
from postage.broker.core.clock import Timers, TurnableTimers
from postage.broker.core.costs import EXCHANGE, value_cost
from postage.broker.core.dead_letters import DeadLetters
from postage.broker.core.declarations import (
    check_new_exchange,
    check_new_queue,
    check_same_exchange,
    check_same_queue,
    check_server_named,
    check_type,
    locked,
    place,
    refuse_default,
    refuse_reserved,
)
from postage.broker.core.likeness import Likeness
from postage.broker.core.limits import Limits
from postage.broker.core.queue import BrokerQueue, QueueConsumer, QueuedMessage
from postage.broker.core.queue_arguments import QueueArguments
from postage.broker.core.quorum_queue import QuorumQueue
from postage.broker.core.routing import BrokerBinding, BrokerExchange, find_queues
from postage.broker.wire.content import PublishedMessage
from postage.broker.wire.exceptions import ChannelFault, ConnectionFault, Fault

__all__ = ["ReplyConsumer", "VHost"]

_PREDECLARED = {
    "": "direct",
    "amq.direct": "direct",
    "amq.fanout": "fanout",
    "amq.topic": "topic",
    "amq.headers": "headers",
    "amq.match": "headers",
}
MOST_ROUTES = 1024
"""Addresses whose route is cached."""
DETACH_SECONDS = 1.0
"""How long unacknowledged messages of a deleted queue are kept; see `VHost.channels`."""
LONGEST_ROUTE = 64
"""Queues of a route that is cached: the cache is in no account, so it must stay small."""


class ReplyConsumer(Protocol):
    """A consumer of direct replies."""

    def deliver_reply(self, message: PublishedMessage) -> None:
        """Send *message* to the client."""


class MessageHolder(Protocol):
    """A channel with messages that its client has not acknowledged."""

    def detach(self) -> None:
        """Keep nothing of messages whose queue has been deleted."""


class ServedConsumer(QueueConsumer, Protocol):
    """A consumer that knows its queue."""

    queue: BrokerQueue | None
    """None for a consumer of direct replies."""


class VHost:
    """A virtual host, which all connections to it share."""

    def __init__(  # noqa: PLR0913 - what a broker shares with its virtual hosts
        self,
        name: str,
        limits: Limits,
        timers: Timers,
        account: Callable[[int], None],
        *,
        define: Callable[[int], None],
        likeness: Likeness,
        create_missing: bool = False,
    ) -> None:
        self.name, self.limits, self.likeness = name, limits, likeness
        self._create_missing = create_missing
        """Whether passive declarations create a missing queue or exchange, as others do."""
        self.timers, self._account = TurnableTimers(timers), account
        self.define = define
        """Charges bytes of a definition; raises 406 if there are too many."""
        self.channels: set[MessageHolder] = set()
        """The open channels.

        Their clients may have messages of queues that are deleted.  A look through all such
        messages may take a while, so it is taken once a second at most.
        """
        self._detached = 0
        """Bytes of deleted queues of which clients have messages."""
        self.backlog = Backlog(self.timers)
        """Dead letters, and the rest of other work that is too much for one turn."""
        self._dead_letters = DeadLetters(self, self.timers, account)
        self._sources: dict[tuple[str, str], dict[str, BrokerExchange]] = {}
        """The exchanges with bindings to a queue or exchange, by its type and name."""
        self.queues: dict[str, BrokerQueue] = {}
        self.exchanges = {
            name: BrokerExchange(name, type_, durable=True) for name, type_ in _PREDECLARED.items()
        }
        self.routes: dict[bytes, Sequence[BrokerQueue]] = {}
        """Queues by the address of a message; cleared when the topology changes."""
        self.reply_consumers: dict[str, ReplyConsumer] = {}
        """The consumers of direct replies by the routing key of their replies."""
        self.refusals: dict[str, Fault] = {}
        """Names whose next declaration is refused; see `postage.broker.faults`."""
        self.duplicates: dict[str, int] = {}
        """How many messages to put twice, by queue; see `postage.broker.faults`."""

    # --- look-ups

    def exchange(self, name: str) -> BrokerExchange:
        """Return an exchange, or raise 404."""
        if name not in self.exchanges:
            raise ChannelFault(404, f"no {self._place('exchange', name)}")
        return self.exchanges[name]

    def queue(self, name: str, connection: object) -> BrokerQueue:
        """Return a queue that *connection* may use, or raise 404 or 405."""
        queue = self._known_queue(name)
        if queue.owner not in (None, connection):
            raise locked(self._place("queue", name))
        return queue

    def _known_queue(self, name: str) -> BrokerQueue:
        if name not in self.queues:
            raise ChannelFault(404, f"no {self._place('queue', name)}")
        return self.queues[name]

    # --- exchanges

    def declare_exchange(self, call: Any) -> None:
        """Carry out exchange.declare."""
        if call.exchange in self.refusals:
            raise self.refusals.pop(call.exchange)
        known, where = self.exchanges.get(call.exchange), self._place("exchange", call.exchange)
        passive = call.passive and not self._create_missing
        if not passive:
            check_type(call.type, self.likeness)
        refuse_default(call.exchange)
        if passive:
            self.exchange(call.exchange)
        elif known is not None:
            check_same_exchange(call, known, where)
        else:
            check_new_exchange(call, where)
            cost = EXCHANGE + value_cost(call.exchange) + value_cost(call.arguments)
            self.define(cost)
            self.routes.clear()
            self.exchanges[call.exchange] = BrokerExchange(
                call.exchange,
                call.type,
                call.durable,
                call.auto_delete,
                call.internal,
                call.arguments,
                cost=cost,
            )

    def _place(self, noun: str, name: str) -> str:
        return place(noun, name, self.name)

    def delete_exchange(self, name: str, *, if_unused: bool) -> None:
        """Carry out exchange.delete; no error if the exchange does not exist."""
        refuse_default(name)
        if name.startswith("amq."):
            place = self._place("exchange", name)
            raise ChannelFault(403, f"deletion of system {place} not allowed")
        exchange = self.exchanges.get(name)
        if exchange is None:
            return
        if if_unused and exchange.is_bound:
            raise ChannelFault(406, f"{self._place('exchange', name)} in use")
        self.routes.clear()
        self._forget_exchange(exchange)
        self._unbind_destination("exchange", name)

    def _forget_exchange(self, exchange: BrokerExchange) -> None:
        del self.exchanges[exchange.name]
        self.define(-exchange.cost)
        for destination in exchange.destinations:
            self._forget_source(destination, exchange)

    def _forget_source(self, destination: tuple[str, str], exchange: BrokerExchange) -> None:
        sources = self._sources.get(destination, {})
        sources.pop(exchange.name, None)
        if not sources:
            self._sources.pop(destination, None)

    # --- bindings

    def bind(self, source: str, binding: BrokerBinding, connection: object) -> None:
        """Add *binding* to the exchange *source*; no change if it exists already."""
        refuse_default(source)
        if binding.destination_type == "exchange":
            refuse_default(binding.destination)
        exchange = self.exchange(source)
        if binding.destination_type == "exchange":
            self.exchange(binding.destination)
        else:
            self._known_queue(binding.destination)
        exchange.check(binding)
        self._check_access(binding, connection)
        if not exchange.has(binding):
            self.define(binding.cost)
            self.routes.clear()
            exchange.bind(binding)
            destination = binding.destination_type, binding.destination
            self._sources.setdefault(destination, {})[source] = exchange

    def unbind(self, source: str, binding: BrokerBinding, connection: object) -> None:
        """Remove *binding*; no error if it, its source or its destination does not exist."""
        refuse_default(source)
        if binding.destination_type == "exchange":
            refuse_default(binding.destination)
        exchange = self.exchanges.get(source)
        if exchange is None or not exchange.has(binding):
            return
        self._check_access(binding, connection)
        self.routes.clear()
        before = exchange.cost
        exchange.unbind(binding)
        self.define(exchange.cost - before)
        destination = binding.destination_type, binding.destination
        if destination not in exchange.destinations:
            self._forget_source(destination, exchange)
        if self._is_unused(exchange):
            self.delete_exchange(source, if_unused=False)

    def _check_access(self, binding: BrokerBinding, connection: object) -> None:
        """Raise 405 if the destination is a queue that is exclusive to another connection."""
        if binding.destination_type == "queue":
            self.queue(binding.destination, connection)

    def _unbind_destination(self, destination_type: str, name: str) -> None:
        """Remove the bindings to a queue or exchange that was deleted.

        An auto-delete exchange that loses its last binding is deleted, too, and so on.  This is a
        loop because a chain of exchanges may be longer than Python's stack.
        """
        deleted = deque([(destination_type, name)])
        while deleted:
            destination = deleted.popleft()
            for exchange in self._sources.pop(destination, {}).values():
                before = exchange.cost
                exchange.unbind_destination(*destination)
                self.define(exchange.cost - before)
                if self._is_unused(exchange):
                    self._forget_exchange(exchange)
                    deleted.append(("exchange", exchange.name))

    def _is_unused(self, exchange: BrokerExchange) -> bool:
        """Tell whether *exchange* is an auto-delete exchange that has lost its last binding."""
        unused = exchange.auto_delete and exchange.had_bindings and not exchange.is_bound
        return unused and self.exchanges.get(exchange.name) is exchange

    # --- queues

    def declare_queue(self, call: Any, connection: object) -> BrokerQueue:
        """Carry out queue.declare."""
        if call.queue in self.refusals:
            raise self.refusals.pop(call.queue)
        passive = call.passive and not self._create_missing
        if call.queue in self.queues:
            queue = self.queue(call.queue, connection)
            if not passive:
                check_same_queue(call, queue, self._place("queue", queue.name), self.likeness)
            if queue.options.type != "quorum":  # no use of a quorum queue, measured on 3.10 and 4.3
                queue.last_use = self.timers.now()
            return queue
        if passive:
            return self.queue(call.queue, connection)
        refuse_reserved("queue", call.queue)
        check_server_named(call, self.likeness)
        return self._create_queue(call, connection)

    def _create_queue(self, call: Any, connection: object) -> BrokerQueue:
        if len(self.queues) >= self.limits.queues:
            raise ChannelFault(
                406, f"cannot declare queue: the limit of {self.limits.queues} is reached"
            )
        name = call.queue
        if not name:
            name = f"amq.gen-{secrets.token_urlsafe(16)}"  # others must not guess it
        where = self._place("queue", name)
        options = QueueArguments.parse(call.arguments, name, self.name, self.likeness)
        check_new_queue(call, options, where, self.likeness)
        kind = partial(QuorumQueue, likeness=self.likeness)
        queue = (kind if options.type == "quorum" else BrokerQueue)(
            name,
            durable=call.durable and not call.exclusive,
            auto_delete=call.auto_delete,
            owner=connection if call.exclusive else None,
            arguments=call.arguments,
            options=options,
            timers=self.timers,
            dead_letter=self._dead_letters.publish,
            account=self._account,
            backlog=self.backlog,
        )
        self.define(queue.cost)
        self.routes.clear()
        self.queues[queue.name] = queue
        if queue.options.expires is not None:
            self._expire_queue(queue)
        return queue

    def _expire_later(self, queue: BrokerQueue) -> None:
        """Watch *queue* again, which has lost a consumer, unless it is deleted."""
        if self.queues.get(queue.name) is queue:
            self._expire_queue(queue)

    def _expire_queue(self, queue: BrokerQueue) -> None:
        """Delete *queue* if it has been unused for the time of its x-expires, or check later.

        While the queue has consumers, nothing is checked: x-expires may be a millisecond.
        """
        queue.use_timer = None
        if queue.consumer_count:
            return
        left = queue.last_use + (queue.options.expires or 0.0) - self.timers.now()
        if left <= 0:
            self.remove_queue(queue)
        else:
            queue.use_timer = self.timers.later(left, partial(self._expire_queue, queue))

    def delete_queue(self, queue: BrokerQueue, *, if_unused: bool, if_empty: bool) -> int:
        """Carry out queue.delete; return how many messages were ready in it."""
        if queue.options.type == "quorum" and (if_unused or if_empty):
            flag = "if-unused" if if_unused else "if-empty"
            text = (
                f"queue.delete operations with {flag} flag set are not supported by quorum queues"
            )
            raise ConnectionFault(540, f"cannot delete {self._place('queue', queue.name)}. {text}")
        if if_unused and queue.consumer_count:
            raise ChannelFault(406, f"{self._place('queue', queue.name)} in use")
        if if_empty and len(queue):
            raise ChannelFault(406, f"{self._place('queue', queue.name)} not empty")
        return self.remove_queue(queue)

    def remove_queue(self, queue: BrokerQueue) -> int:
        """Delete *queue* unconditionally; return how many messages were ready in it."""
        if self.queues.get(queue.name) is not queue:
            return 0
        count = len(queue)
        self.routes.clear()
        del self.queues[queue.name]
        if queue.unacked:
            self._detach_later(queue)
        else:
            self.define(-queue.cost)
        if queue.use_timer is not None:  # it would keep the queue in memory until it is due
            queue.use_timer.cancel()
        self._unbind_destination("queue", queue.name)
        queue.close()
        return count

    def _detach_later(self, queue: BrokerQueue) -> None:
        """Release the memory of *queue* when no message refers to it any more."""
        if not self._detached:
            self.timers.later(DETACH_SECONDS, self._detach)
        self._detached += queue.cost

    def _detach(self) -> None:
        cost, self._detached = self._detached, 0
        for channel in list(self.channels):
            channel.detach()
        self.define(-cost)

    def unnamed_queue(self, account: Callable[[int], None]) -> BrokerQueue:
        """Return a queue that stands for deleted ones in unacknowledged deliveries."""
        return BrokerQueue(
            "",
            durable=False,
            auto_delete=False,
            owner=None,
            arguments={},
            options=QueueArguments(),
            timers=self.timers,
            dead_letter=self._dead_letters.publish,
            account=account,
            backlog=self.backlog,
        )

    def close(self) -> None:
        """Discard all queues, exchanges and bindings: the virtual host is deleted."""
        for queue in list(self.queues.values()):
            self.remove_queue(queue)
        self.define(-sum(exchange.cost for exchange in self.exchanges.values()))
        self.exchanges.clear()
        self._sources.clear()

    def remove_consumers(self, consumers: Iterable[ServedConsumer]) -> None:
        """Let the queues of *consumers* forget them; delete auto-delete queues without others."""
        removed: dict[BrokerQueue, set[QueueConsumer]] = {}
        for consumer in consumers:
            if consumer.queue is not None:
                removed.setdefault(consumer.queue, set()).add(consumer)
        self.backlog.each(removed.items(), self._remove_consumers, "the end of consumers")

    def _remove_consumers(self, removed: list[tuple[BrokerQueue, set[QueueConsumer]]]) -> None:
        for queue, consumers in removed:
            queue.remove_consumers(consumers)
            if queue.auto_delete and queue.had_consumers and not queue.consumer_count:
                self.remove_queue(queue)
            elif queue.options.expires is not None and queue.use_timer is None:
                self._expire_later(queue)
            queue.dispatch()

    def remove_owned(self, owner: object) -> None:
        """Delete the queues that are exclusive to the connection *owner*, which has ended."""
        owned = [queue for queue in self.queues.values() if queue.owner is owner]
        self.backlog.each(owned, self._remove_queues, "the end of exclusive queues")

    def _remove_queues(self, queues: list[BrokerQueue]) -> None:
        for queue in queues:
            self.remove_queue(queue)

    # --- messages

    def route(self, message: PublishedMessage) -> Sequence[BrokerQueue]:
        """Return the queues that *message* goes to, each once (but see `duplicates`)."""
        queues = None if message.header.more_keys else self.routes.get(message.address)
        if queues is None:
            queues = self._find_queues(message)
        return self._with_duplicates(queues) if self.duplicates else queues

    def _find_queues(self, message: PublishedMessage) -> Sequence[BrokerQueue]:
        """Return the queues of *message*; cache them if they depend on its address only."""
        passed: set[str] = set()
        queues = tuple(find_queues(self.exchanges, self.queues, message, passed))
        by_headers = any(self.exchanges[name].type == "headers" for name in passed)
        if not by_headers and not message.header.more_keys and len(queues) <= LONGEST_ROUTE:
            if len(self.routes) >= MOST_ROUTES:
                self.routes.clear()
            self.routes[message.address] = queues
        return queues

    def _with_duplicates(self, queues: Sequence[BrokerQueue]) -> Sequence[BrokerQueue]:
        doubled = [queue for queue in queues if self.duplicates.get(queue.name)]
        for queue in doubled:
            self.duplicates[queue.name] -= 1
        return [*queues, *doubled]

    def put_all(self, message: PublishedMessage, queues: Sequence[BrokerQueue]) -> bool:
        """Put *message* into *queues*; return whether all of them accept it.

        Dead letters that this produces are published afterwards.  If there are more than `AT_ONCE`
        queues, the message reaches the others in later turns of the hub.
        """
        accepted = all(queue.accepts(message) for queue in queues)
        if len(queues) > AT_ONCE:
            size = QueuedMessage(message.address, message.header, message.body).size
            self._account(size * len(queues))  # what the copies will take
            put = partial(self._put_copies, message, size)
            self.backlog.each(queues, put, "copies of a message")
        else:
            with self.backlog:
                for queue in queues:
                    queue.publish(message)
        return accepted

    def _put_copies(self, message: PublishedMessage, size: int, queues: list[BrokerQueue]) -> None:
        self._account(-size * len(queues))
        for queue in queues:
            if self.queues.get(queue.name) is queue:
                queue.publish(message)
