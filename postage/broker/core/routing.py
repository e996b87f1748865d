"""Exchanges, bindings, and which bindings a message matches (AMQP 0-9-1, 3.1)."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Generic, TypeVar

from postage.broker.core.costs import binding_cost
from postage.broker.core.queue_arguments import type_name
from postage.broker.core.topic_patterns import TopicPatterns
from postage.broker.wire.content import PublishedMessage
from postage.broker.wire.exceptions import ChannelFault
from postage.broker.wire.fields import encode_table

__all__ = ["TYPES", "BrokerBinding", "BrokerExchange", "find_queues"]

TYPES = ("direct", "fanout", "topic", "headers")
_MODES = ("all", "any", "all-with-x", "any-with-x")
MOST_STEPS = 1_000_000
"""Bindings, and steps of the search for patterns, that one message may take: about 0.2 s."""

Identity = tuple[str, str, str, bytes]
Bindings = dict[Identity, "BrokerBinding"]


class WantedHeaders:
    """The arguments of a binding as a headers exchange compares them with those of a message.

    They are sorted out once, because a message is compared with each binding of its exchange.
    """

    def __init__(self, arguments: dict[str, Any]) -> None:
        mode = str(arguments.get("x-match", "all"))
        wanted = {
            name: value
            for name, value in arguments.items()
            if name != "x-match" and (mode.endswith("-with-x") or not name.startswith("x-"))
        }
        self._any = mode.startswith("any")
        self._names = {name for name, value in wanted.items() if value is None}
        """Names that match with any value."""
        self._fields = {name: value for name, value in wanted.items() if value is not None}

    def match(self, headers: dict[str, Any]) -> bool:
        """Tell whether *headers* match."""
        names, fields = self._names, self._fields.items()
        if self._any:
            found = any(
                name in headers and _is_same(headers[name], value) for name, value in fields
            )
            return found or not names.isdisjoint(headers)
        if len(names) + len(fields) > len(headers):
            return False
        found = all(name in headers and _is_same(headers[name], value) for name, value in fields)
        return found and all(name in headers for name in names)


def _is_same(value: object, wanted: object) -> bool:
    """Compare two values of headers: 1 and true are equal in Python only."""
    return value == wanted and isinstance(value, bool) == isinstance(wanted, bool)


@dataclass(frozen=True)
class BrokerBinding:
    """A binding from an exchange to a queue or another exchange."""

    destination_type: str
    """``queue`` or ``exchange``."""
    destination: str
    key: str
    arguments: dict[str, Any] = field(default_factory=dict, hash=False)

    @cached_property
    def cost(self) -> int:
        """Estimated bytes of memory."""
        return binding_cost(self.destination, self.key, self.arguments, self.identity[3])

    @property
    def identity(self) -> Identity:
        """A key for the binding: two bindings with the same identity are the same binding."""
        ordered = dict(sorted(self.arguments.items()))
        return self.destination_type, self.destination, self.key, encode_table(ordered)

    @cached_property
    def wanted(self) -> WantedHeaders:
        """What a headers exchange compares with the headers of a message."""
        return WantedHeaders(self.arguments)


@dataclass(eq=False)
class BrokerExchange:
    """An exchange and the bindings that start at it."""

    name: str
    type: str
    durable: bool = False
    auto_delete: bool = False
    internal: bool = False
    arguments: dict[str, Any] = field(default_factory=dict)
    had_bindings: bool = False
    cost: int = 0
    """Estimated bytes of memory with the bindings; the broker's own exchanges are free."""

    def __post_init__(self) -> None:
        """Start without bindings."""
        self._bindings: Bindings = {}
        # Two indexes and a tree: with thousands of bindings, a search through all is slow.
        self._by_key: dict[str, Bindings] = {}
        self._by_destination: dict[tuple[str, str], Bindings] = {}
        self._patterns = TopicPatterns()

    @property
    def bindings(self) -> list[BrokerBinding]:
        """All bindings, the oldest first."""
        return list(self._bindings.values())

    @property
    def is_bound(self) -> bool:
        """Whether any binding starts here."""
        return bool(self._bindings)

    @property
    def depends_on_key(self) -> bool:
        """Whether the routing key decides what a message matches."""
        return self.type in ("direct", "topic")

    @property
    def steps(self) -> int:
        """The steps of the last search for patterns."""
        return self._patterns.steps

    @property
    def destinations(self) -> Collection[tuple[str, str]]:
        """Types and names of the queues and exchanges that bindings lead to."""
        return self._by_destination.keys()

    def bind(self, binding: BrokerBinding) -> None:
        """Add *binding*; adding it again changes nothing."""
        self.had_bindings = True
        if self.type == "headers":
            _ = binding.wanted  # now: for many bindings, it would take long with the first message
        identity, destination = binding.identity, (binding.destination_type, binding.destination)
        if identity not in self._bindings:
            self._bindings[identity] = binding
            self.cost += binding.cost
            self._by_key.setdefault(binding.key, {})[identity] = binding
            self._by_destination.setdefault(destination, {})[identity] = binding
            if self.type == "topic":
                self._patterns.add(binding.key)

    def check(self, binding: BrokerBinding) -> None:
        """Raise 406 if this is a headers exchange and *binding* has an invalid ``x-match``."""
        mode = binding.arguments.get("x-match", "all")
        if self.type != "headers" or mode in _MODES:
            return
        if isinstance(mode, str):
            expected = "all, any, all-with-x, or any-with-x"
            text = f'Invalid x-match field value <<"{mode}">>; expected {expected}'
        else:
            shown = "undefined" if mode is None else mode
            text = f"Invalid x-match field type {type_name(mode)} (value {shown}); expected longstr"
        raise ChannelFault(406, text)

    def has(self, binding: BrokerBinding) -> bool:
        """Tell whether *binding* exists."""
        return binding.identity in self._bindings

    def unbind(self, binding: BrokerBinding) -> bool:
        """Remove *binding*; tell whether it existed."""
        identity = binding.identity
        known = self._bindings.get(identity)
        if known is not None:
            self._unbind(identity, known)
        return known is not None

    def _unbind(self, identity: Identity, binding: BrokerBinding) -> None:
        del self._bindings[identity]
        self.cost -= binding.cost
        if _removed(self._by_key, binding.key, identity) and self.type == "topic":
            self._patterns.remove(binding.key)
        destination = binding.destination_type, binding.destination
        _removed(self._by_destination, destination, identity)

    def unbind_destination(self, destination_type: str, name: str) -> bool:
        """Remove all bindings to a deleted queue or exchange; tell whether there were any."""
        bindings = list(self._by_destination.get((destination_type, name), {}).items())
        for identity, binding in bindings:
            self._unbind(identity, binding)
        return bool(bindings)

    def matching(self, key: str, message: PublishedMessage) -> Iterator[BrokerBinding]:
        """Yield the bindings that *message*, with the routing *key*, matches."""
        if self.type == "direct":
            yield from self._by_key.get(key, {}).values()
        elif self.type == "fanout":
            yield from self._bindings.values()
        elif self.type == "topic":
            for pattern in self._patterns.matching(key):
                yield from self._by_key[pattern].values()
        else:
            headers = message.headers
            yield from (b for b in self._bindings.values() if b.wanted.match(headers))


T = TypeVar("T")


def _removed(index: dict[T, Bindings], entry: T, identity: Identity) -> bool:
    """Remove a binding from *entry* of *index*; tell whether the entry has become empty."""
    bindings = index[entry]
    del bindings[identity]
    if not bindings:
        del index[entry]
    return not bindings


Q = TypeVar("Q")


def find_queues(
    exchanges: Mapping[str, BrokerExchange],
    queues: Mapping[str, Q],
    message: PublishedMessage,
    passed: set[str],
) -> Collection[Q]:
    """Return the *queues* that *message* reaches, each once.

    Adds the exchanges on the way to *passed*.  Raises 406 if this takes too much work, which only
    many keys (CC and BCC) together with patterns that are made for it can cause.
    """
    return _Route(exchanges, queues, message, passed).follow()


class _Route(Generic[Q]):
    """The way of *message* through the exchanges."""

    def __init__(
        self,
        exchanges: Mapping[str, BrokerExchange],
        queues: Mapping[str, Q],
        message: PublishedMessage,
        passed: set[str],
    ) -> None:
        self._exchanges, self._queues = exchanges, queues
        self._message, self._passed = message, passed
        self._keys = tuple(dict.fromkeys((message.key, *message.header.more_keys)))
        self._found: dict[str, Q] = {}
        self._steps = 0

    def follow(self) -> Collection[Q]:
        """Return all queues.  This is a loop: a chain of exchanges may exceed Python's stack."""
        paths: list[Iterator[str]] = [iter((self._message.exchange,))]
        while paths:
            name = next(paths[-1], None)
            if name is None:
                paths.pop()
            elif name not in self._passed and name in self._exchanges:
                self._passed.add(name)
                if name:
                    paths.append(self._behind(self._exchanges[name]))
                else:
                    known = (key for key in self._keys if key in self._queues)
                    self._found.update((key, self._queues[key]) for key in known)
        return self._found.values()

    def _behind(self, source: BrokerExchange) -> Iterator[str]:
        """Add the queues of *source* to those found; yield the exchanges that it leads to."""
        has_matched = False
        for key in self._keys if source.depends_on_key else self._keys[:1]:
            steps = 0
            for binding in source.matching(key, self._message):
                has_matched = True
                steps += 1
                if binding.destination_type == "queue":
                    self._found[binding.destination] = self._queues[binding.destination]
                else:
                    yield binding.destination
            self._step(steps + source.steps)
        alternate = source.arguments.get("alternate-exchange")
        if not has_matched and alternate:  # as in RabbitMQ, "" does not mean the default exchange
            yield alternate

    def _step(self, steps: int) -> None:
        self._steps += steps
        if self._steps > MOST_STEPS:
            text = f"the message has {len(self._keys)} routing keys, which match too slowly"
            raise ChannelFault(406, text)
