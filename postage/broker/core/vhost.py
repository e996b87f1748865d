"""A virtual host: its exchanges, queues and bindings, and the way of a message through them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from postage.broker.core.clock import Timer, Timers
from postage.broker.core.dead_letters import dead_letter, has_cycle
from postage.broker.core.limits import Limits
from postage.broker.core.queue import BrokerQueue, QueuedMessage
from postage.broker.core.queue_arguments import check_same, check_text
from postage.broker.core.routing import TYPES, BrokerBinding, BrokerExchange
from postage.broker.fastpath.route_cache import RouteCache
from postage.broker.wire.content import PublishedMessage
from postage.broker.wire.exceptions import ChannelFault, ConnectionFault, Fault

__all__ = ["VHost"]

_PREDECLARED = {
    "": "direct",
    "amq.direct": "direct",
    "amq.fanout": "fanout",
    "amq.topic": "topic",
    "amq.headers": "headers",
    "amq.match": "headers",
}


class VHost:
    """What the connections to one virtual host share."""

    def __init__(
        self,
        name: str,
        limits: Limits,
        timers: Timers,
        account: Any,
        *,
        create_missing: bool = False,
    ) -> None:
        self.name, self.limits = name, limits
        self._create_missing = create_missing
        """Whether a passive declaration creates what is missing, as any other does."""
        self._timers, self._account = timers, account
        self._names = 0
        self._dead: deque[tuple[BrokerQueue, QueuedMessage, str]] = deque()
        self._is_putting = False
        """Whether a message is on its way to several queues: what is dead waits for that."""
        self.queues: dict[str, BrokerQueue] = {}
        self.exchanges = {
            each: BrokerExchange(each, kind, durable=True) for each, kind in _PREDECLARED.items()
        }
        self.routes = RouteCache(self)
        """Where publishes go, as found out since exchanges, queues or bindings last changed."""
        self._expiries: dict[str, Timer] = {}
        """Of queues that are deleted when nobody uses them, by name."""
        self.reply_consumers: dict[str, Any] = {}
        """Who takes direct replies, by the key that reaches it."""
        self.refusals: dict[str, Fault] = {}
        """Names whose declaration is refused once, for tests; see `postage.broker.faults`."""
        self.duplicates: dict[str, int] = {}
        """Queues that get their next messages twice, and how many those are; likewise."""

    # --- look-ups

    def exchange(self, name: str) -> BrokerExchange:
        """Return an exchange or raise 404."""
        if name not in self.exchanges:
            raise ChannelFault(404, f"no exchange '{name}' in vhost '{self.name}'")
        return self.exchanges[name]

    def queue(self, name: str, connection: object) -> BrokerQueue:
        """Return a queue that *connection* may use, or raise 404 or 405."""
        queue = self._known_queue(name)
        if queue.owner not in (None, connection):
            raise self._locked(name)
        return queue

    def _known_queue(self, name: str) -> BrokerQueue:
        if name not in self.queues:
            raise ChannelFault(404, f"no queue '{name}' in vhost '{self.name}'")
        return self.queues[name]

    def _locked(self, name: str) -> ChannelFault:
        return ChannelFault(
            405,
            f"cannot obtain exclusive access to locked queue '{name}' in vhost '{self.name}'. "
            f"It could be originally declared on another connection or the exclusive property "
            f"value does not match that of the original declaration.",
        )

    # --- exchanges

    def declare_exchange(self, call: Any) -> None:
        """Carry out exchange.declare."""
        self._refuse_if_told(call.exchange)
        known = self.exchanges.get(call.exchange)
        passive = call.passive and not self._create_missing
        if not passive and call.type not in TYPES:
            raise ConnectionFault(503, f"unknown exchange type '{call.type}'")
        _refuse_default(call.exchange)
        if passive:
            self.exchange(call.exchange)
        elif known is not None:
            self._check_same_exchange(call, known)
        else:
            self._create_exchange(call)

    def _create_exchange(self, call: Any) -> None:
        self._refuse_reserved("exchange", call.exchange)
        subject = f"exchange '{call.exchange}' in vhost '{self.name}'"
        check_text(call.arguments, "alternate-exchange", subject)
        self.routes.clear()
        self.exchanges[call.exchange] = BrokerExchange(
            call.exchange, call.type, call.durable, call.auto_delete, call.internal, call.arguments
        )

    def _refuse_if_told(self, name: str) -> None:
        if name in self.refusals:
            raise self.refusals.pop(name)

    def _check_same_exchange(self, call: Any, known: BrokerExchange) -> None:
        flags = ("type", "durable", "auto_delete", "internal")
        check_same(
            "exchange",
            known.name,
            self.name,
            {flag: getattr(call, flag) for flag in flags},
            {flag: getattr(known, flag) for flag in flags},
            (call.arguments, known.arguments),
        )

    def _refuse_reserved(self, kind: str, name: str) -> None:
        if name.startswith("amq."):
            raise ChannelFault(403, f"{kind} name '{name}' contains reserved prefix 'amq.*'")

    def delete_exchange(self, name: str, *, if_unused: bool) -> None:
        """Carry out exchange.delete; deleting what does not exist is fine."""
        _refuse_default(name)
        if name.startswith("amq."):
            raise ChannelFault(
                403, f"deletion of system exchange '{name}' in vhost '{self.name}' not allowed"
            )
        exchange = self.exchanges.get(name)
        if exchange is None:
            return
        if if_unused and exchange.bindings:
            raise ChannelFault(406, f"exchange '{name}' in vhost '{self.name}' in use")
        self.routes.clear()
        del self.exchanges[name]
        self._forget_destination("exchange", name)

    # --- bindings

    def bind(self, source: str, binding: BrokerBinding, connection: object) -> None:
        """Bind; binding twice is fine."""
        self._refuse_defaults(source, binding)
        exchange = self.exchange(source)
        if binding.kind == "exchange":
            self.exchange(binding.destination)
        else:
            self._known_queue(binding.destination)
        exchange.check(binding)
        self._check_access(binding, connection)
        self.routes.clear()
        exchange.bind(binding)

    def unbind(self, source: str, binding: BrokerBinding, connection: object) -> None:
        """Undo a binding; undoing what is not there is fine, whatever of it is not there."""
        self._refuse_defaults(source, binding)
        exchange = self.exchanges.get(source)
        if exchange is None or not exchange.has(binding):
            return
        self._check_access(binding, connection)
        self.routes.clear()
        exchange.unbind(binding)
        self._collect([exchange])

    def _refuse_defaults(self, source: str, binding: BrokerBinding) -> None:
        _refuse_default(source)
        if binding.kind == "exchange":
            _refuse_default(binding.destination)

    def _check_access(self, binding: BrokerBinding, connection: object) -> None:
        """Raise 405 where the destination is a queue that is exclusive to another connection."""
        if binding.kind == "queue":
            self.queue(binding.destination, connection)

    def _forget_destination(self, kind: str, name: str) -> None:
        touched = [e for e in self.exchanges.values() if e.unbind_destination(kind, name)]
        self._collect(touched)

    def _collect(self, exchanges: Iterable[BrokerExchange]) -> None:
        """Delete the auto-delete exchanges among *exchanges* whose last binding has gone."""
        for exchange in list(exchanges):
            unused = exchange.auto_delete and exchange.had_bindings and not exchange.bindings
            if unused and exchange.name in self.exchanges:
                self.delete_exchange(exchange.name, if_unused=False)

    # --- queues

    def declare_queue(self, call: Any, connection: object) -> BrokerQueue:
        """Carry out queue.declare."""
        self._refuse_if_told(call.queue)
        passive = call.passive and not self._create_missing
        if call.queue in self.queues:
            queue = self.queue(call.queue, connection)
            if not passive:
                self._check_same_queue(call, queue)
            queue.last_use = self._timers.now()
            return queue
        if passive:
            return self.queue(call.queue, connection)
        self._refuse_reserved("queue", call.queue)
        return self._create_queue(call, connection)

    def _create_queue(self, call: Any, connection: object) -> BrokerQueue:
        if len(self.queues) >= self.limits.queues:
            raise ChannelFault(
                406, f"cannot declare queue: the limit of {self.limits.queues} is reached"
            )
        queue = BrokerQueue(
            call.queue or self._new_name(),
            vhost=self.name,
            durable=call.durable and not call.exclusive,
            auto_delete=call.auto_delete,
            owner=connection if call.exclusive else None,
            arguments=call.arguments,
            timers=self._timers,
            dead_letter=self._dead_letter,
            account=self._account,
        )
        self._check_properties(queue)
        self.routes.clear()
        self.queues[queue.name] = queue
        if queue.options.expires is not None:
            self._look_again(queue, queue.options.expires)
        return queue

    def _look_again(self, queue: BrokerQueue, seconds: float) -> None:
        """See in *seconds* whether anybody still uses *queue*."""
        expiry = self._timers.later(seconds, lambda: self._expire_queue(queue))
        self._expiries[queue.name] = expiry

    def _check_properties(self, queue: BrokerQueue) -> None:
        """Refuse what queues that RabbitMQ replicates cannot be."""
        faults = {
            "non-durable": not queue.durable and queue.owner is None,
            "auto-delete": queue.auto_delete,
            "exclusive-owner": queue.owner is not None,
        }
        if queue.options.type == "quorum" and any(faults.values()):
            fault = next(name for name, wrong in faults.items() if wrong)
            text = f"invalid property '{fault}' for queue '{queue.name}' in vhost '{self.name}'"
            raise ChannelFault(406, text)

    def _new_name(self) -> str:
        self._names += 1
        return f"amq.gen-{self._names:016x}"

    def _check_same_queue(self, call: Any, queue: BrokerQueue) -> None:
        if call.exclusive != (queue.owner is not None):
            raise self._locked(queue.name)
        check_same(
            "queue",
            queue.name,
            self.name,
            {"durable": call.durable and not call.exclusive, "auto_delete": call.auto_delete},
            {"durable": queue.durable, "auto_delete": queue.auto_delete},
            (call.arguments, queue.arguments),
        )

    def _expire_queue(self, queue: BrokerQueue) -> None:
        """Delete a queue that nobody has used for as long as its x-expires says."""
        if queue.options.expires is None:
            return
        left = queue.last_use + queue.options.expires - self._timers.now()
        if left <= 0 and not queue.consumers:
            self.remove_queue(queue)
            return
        self._look_again(queue, left if left > 0 else queue.options.expires)

    def delete_queue(self, queue: BrokerQueue, *, if_unused: bool, if_empty: bool) -> int:
        """Carry out queue.delete; return how many messages were ready in it."""
        if if_unused and queue.consumers:
            raise ChannelFault(406, f"queue '{queue.name}' in vhost '{self.name}' in use")
        if if_empty and len(queue):
            raise ChannelFault(406, f"queue '{queue.name}' in vhost '{self.name}' not empty")
        return self.remove_queue(queue)

    def remove_queue(self, queue: BrokerQueue) -> int:
        """Delete *queue* whatever it is in; return how many messages were ready in it."""
        if self.queues.get(queue.name) is not queue:
            return 0
        count = len(queue)
        self.routes.clear()
        del self.queues[queue.name]
        if queue.name in self._expiries:  # else the timer would keep the queue until it is due
            self._expiries.pop(queue.name).cancel()
        self._forget_destination("queue", queue.name)
        queue.close()
        return count

    def consumer_left(self, queue: BrokerQueue) -> None:
        """A consumer of *queue* has ended; delete the queue if it was to go with the last one."""
        if queue.auto_delete and queue.had_consumers and not queue.consumers:
            self.remove_queue(queue)

    # --- messages

    def route(self, message: PublishedMessage) -> list[BrokerQueue]:
        """Return the queues that *message* goes to, each once."""
        found, _ = self.trace(message)
        return self._doubled(found) if self.duplicates else found

    def trace(self, message: PublishedMessage) -> tuple[list[BrokerQueue], set[str]]:
        """Return the queues that *message* goes to, and the exchanges that it passes."""
        queues: dict[str, BrokerQueue] = {}
        passed: set[str] = set()
        keys = [message.key, *message.more_keys]
        self._route(message.exchange, keys, message, queues, passed)
        return list(queues.values()), passed

    def _doubled(self, queues: list[BrokerQueue]) -> list[BrokerQueue]:
        doubled = [queue for queue in queues if self.duplicates.get(queue.name)]
        for queue in doubled:
            self.duplicates[queue.name] -= 1
        return queues + doubled

    def _route(
        self,
        exchange: str,
        keys: list[str],
        message: PublishedMessage,
        queues: dict[str, BrokerQueue],
        seen: set[str],
    ) -> None:
        if exchange in seen or exchange not in self.exchanges:
            return
        seen.add(exchange)
        if not exchange:
            queues.update((key, self.queues[key]) for key in keys if key in self.queues)
            return
        source = self.exchanges[exchange]
        found = False
        for binding in (b for key in keys for b in source.matching(key, message)):
            found = True
            if binding.kind == "queue":
                queues[binding.destination] = self.queues[binding.destination]
            else:
                self._route(binding.destination, keys, message, queues, seen)
        alternate = source.arguments.get("alternate-exchange")
        if not found and alternate:  # the default exchange is no alternate (nor is it RabbitMQ's)
            self._route(alternate, keys, message, queues, seen)

    def put_all(self, queues: Iterable[BrokerQueue], put: Callable[[BrokerQueue], None]) -> None:
        """Call *put* for each of *queues*; what that drives out of any of them goes on after it."""
        was_spreading, self._is_putting = self._is_putting, True
        try:
            for queue in queues:
                put(queue)
        finally:
            self._is_putting = was_spreading
        if not was_spreading:
            self._publish_all_dead()

    def _dead_letter(self, queue: BrokerQueue, entry: QueuedMessage, reason: str) -> None:
        """Publish *entry*, which may make other queues drop something: one after the other."""
        self._dead.append((queue, entry, reason))
        if not self._is_putting:
            self._publish_all_dead()

    def _publish_all_dead(self) -> None:
        self._is_putting = True
        try:
            while self._dead:
                self._publish_dead(*self._dead.popleft())
        finally:
            self._is_putting = False
            self._dead.clear()

    def _publish_dead(self, queue: BrokerQueue, entry: QueuedMessage, reason: str) -> None:
        target = queue.options.dead_letter_exchange
        if target is None or target not in self.exchanges:
            return
        letter = dead_letter(entry.message, queue, reason, self._timers.wall())
        for destination in self.route(letter):
            if not has_cycle(letter, destination.name, reason):
                destination.publish(letter)


def _refuse_default(exchange: str) -> None:
    """Raise where *exchange* is the default one, which is as it is."""
    if not exchange:
        raise ChannelFault(403, "operation not permitted on the default exchange")
