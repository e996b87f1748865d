"""The patterns of a topic exchange as a tree of words (AMQP 0-9-1, 3.1.3.3).

A key is led along its own words, so that ten thousand patterns which begin otherwise cost nothing.
"""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["Patterns"]


class _Node:
    """Where patterns have come to after some words."""

    __slots__ = ("pattern", "repeats", "words")

    def __init__(self, *, repeats: bool) -> None:
        self.words: dict[str, _Node] = {}
        """What comes next, by the word."""
        self.pattern: str | None = None
        """The one that ends here."""
        self.repeats = repeats
        """Whether this is behind a ``#``, which takes any number of words."""


class Patterns:
    """A set of patterns, to be asked which of them a key matches; see `topic_matches`."""

    def __init__(self) -> None:
        self._root = _Node(repeats=False)

    def add(self, pattern: str) -> None:
        """Add *pattern*; adding it again changes nothing."""
        node = self._root
        for word in pattern.split("."):
            if word not in node.words:
                node.words[word] = _Node(repeats=word == "#")
            node = node.words[word]
        node.pattern = pattern

    def remove(self, pattern: str) -> None:
        """Remove *pattern*, which is there, and the way that led to it alone."""
        words = pattern.split(".")
        way = [self._root]
        for word in words:
            way.append(way[-1].words[word])
        way[-1].pattern = None
        for node, word, after in zip(way[-2::-1], words[::-1], way[:0:-1], strict=True):
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


def _reached(nodes: Iterable[_Node]) -> dict[_Node, None]:
    """Return *nodes*, and those behind a ``#``, as it may stand for no word at all."""
    found: dict[_Node, None] = {}
    for node in nodes:
        here: _Node | None = node
        while here is not None and here not in found:
            found[here] = None
            here = here.words.get("#")
    return found
