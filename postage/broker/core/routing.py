"""Exchanges, bindings, and which bindings a message matches (AMQP 0-9-1, 3.1).

A topic exchange keeps its patterns as a tree of words (`TopicPatterns`).  The words of a key are
looked up one after the other in the tree, so patterns that start with other words cost nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

from postage.broker.core.costs import binding_cost
from postage.broker.core.queue_arguments import type_name
from postage.broker.wire.content import PublishedMessage
from postage.broker.wire.exceptions import ChannelFault
from postage.broker.wire.fields import encode_table

__all__ = ["TYPES", "BrokerBinding", "BrokerExchange", "TopicPatterns"]

TYPES = ("direct", "fanout", "topic", "headers")
_MODES = ("all", "any", "all-with-x", "any-with-x")

Identity = tuple[str, str, str, bytes]
Bindings = dict[Identity, "BrokerBinding"]


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

    def bind(self, binding: BrokerBinding) -> None:
        """Add *binding*; adding it again changes nothing."""
        self.had_bindings = True
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
        identity, destination = binding.identity, (binding.destination_type, binding.destination)
        known = self._bindings.pop(identity, None)
        if known is None:
            return False
        self.cost -= known.cost
        if _removed(self._by_key, binding.key, identity) and self.type == "topic":
            self._patterns.remove(binding.key)
        _removed(self._by_destination, destination, identity)
        return True

    def unbind_destination(self, destination_type: str, name: str) -> bool:
        """Remove all bindings to a deleted queue or exchange; tell whether there were any."""
        bindings = list(self._by_destination.get((destination_type, name), {}).values())
        for binding in bindings:
            self.unbind(binding)
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
            yield from (b for b in self._bindings.values() if _headers_match(b.arguments, headers))


T = TypeVar("T")


def _removed(index: dict[T, Bindings], entry: T, identity: Identity) -> bool:
    """Remove a binding from *entry* of *index*; tell whether the entry has become empty."""
    bindings = index[entry]
    del bindings[identity]
    if not bindings:
        del index[entry]
    return not bindings


def _headers_match(arguments: dict[str, Any], headers: dict[str, Any]) -> bool:
    """Tell whether *headers* match the *arguments* of a binding; None matches any value."""
    mode = str(arguments.get("x-match", "all"))
    wanted = {
        name: value
        for name, value in arguments.items()
        if name != "x-match" and (mode.endswith("-with-x") or not name.startswith("x-"))
    }
    hits = (
        name in headers and (value is None or headers[name] == value)
        for name, value in wanted.items()
    )
    return any(hits) if mode.startswith("any") else all(hits)


class _PatternNode:
    """A node of the tree; the patterns below it start with the words that lead to it."""

    __slots__ = ("pattern", "repeats", "words")

    def __init__(self, *, repeats: bool) -> None:
        self.words: dict[str, _PatternNode] = {}
        """The next nodes by their word."""
        self.pattern: str | None = None
        """The pattern that ends here."""
        self.repeats = repeats
        """Whether the word of this node is ``#``, which matches any number of words."""


class TopicPatterns:
    """A set of patterns: ``*`` stands for exactly one word, ``#`` for any number of words."""

    def __init__(self) -> None:
        self._root = _PatternNode(repeats=False)

    def add(self, pattern: str) -> None:
        """Add *pattern*; adding it again changes nothing."""
        node = self._root
        for word in pattern.split("."):
            if word not in node.words:
                node.words[word] = _PatternNode(repeats=word == "#")
            node = node.words[word]
        node.pattern = pattern

    def remove(self, pattern: str) -> None:
        """Remove *pattern*, which must exist, and the nodes that led only to *pattern*."""
        words = pattern.split(".")
        path = [self._root]
        for word in words:
            path.append(path[-1].words[word])
        path[-1].pattern = None
        for node, word, after in zip(path[-2::-1], words[::-1], path[:0:-1], strict=True):
            if after.words or after.pattern is not None:
                return
            del node.words[word]

    def matching(self, key: str) -> list[str]:
        """Return the patterns that *key* matches, each once."""
        nodes = _reached([self._root])
        for word in key.split("."):
            after = (node.words.get(each) for node in nodes for each in {word, "*"})
            nodes = _reached(
                [*(node for node in nodes if node.repeats), *(each for each in after if each)]
            )
        return [node.pattern for node in nodes if node.pattern is not None]


def _reached(nodes: Iterable[_PatternNode]) -> dict[_PatternNode, None]:
    """Return *nodes*, and the nodes behind each ``#`` below them: ``#`` may match no word."""
    found: dict[_PatternNode, None] = {}
    for node in nodes:
        here: _PatternNode | None = node
        while here is not None and here not in found:
            found[here] = None
            here = here.words.get("#")
    return found
