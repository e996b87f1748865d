"""The patterns of a topic exchange, and which of them a routing key matches (AMQP 0-9-1, 3.1.3.3).

How it works
------------
``*`` stands for exactly one word, ``#`` for any number of words.  Clients choose both the patterns
and the keys, so no key may take long, whatever the patterns are.  There are two ways to match:

* **A tree of words**, for short patterns with one ``#`` at most, as nearly all patterns are.  The
  words of a key are looked up one after the other.  At each node only two words go on, the word of
  the key and ``*``, so a key reaches at most ``2 ** LONGEST_SHORT`` nodes at a time, however many
  patterns there are.
* **Blocks of bits**, for all other patterns.  A tree would reach nearly all their nodes with each
  word: patterns like ``#.a.#.b.#`` have taken seconds.  Each word of a pattern is a bit in an
  integer, which says whether the words before it have matched; one step moves the bits of all
  patterns of a block at once (the shift-and algorithm).  The cost is the same for all keys of a
  length: less than a microsecond for each word of a pattern with the longest key (128 words).
"""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["TopicPatterns", "canonical"]

LONGEST_SHORT = 8
"""The most words of a pattern in the tree."""
BLOCK = 2048
"""Bits of a block: enough to share the steps, few enough for its table of words to be small."""


def canonical(pattern: str) -> tuple[str, ...]:
    """Return the words of *pattern*, with ``#`` once at the end of each run of wildcards.

    ``#.#`` matches as ``#``, and ``#.*`` as ``*.#``.
    """
    words: list[str] = []
    for word in pattern.split("."):
        if word == "#" and words and words[-1] == "#":
            continue
        if word == "*" and words and words[-1] == "#":
            words.insert(-1, word)
        else:
            words.append(word)
    return tuple(words)


class TopicPatterns:
    """A set of patterns."""

    def __init__(self) -> None:
        self._tree = _PatternTree()
        self._blocks: list[_Block] = []
        self._block_of: dict[str, _Block] = {}
        self.steps = 0
        """The steps that the last `matching` took, of a tenth of a microsecond or two each."""

    def add(self, pattern: str) -> None:
        """Add *pattern*; adding it again changes nothing."""
        words = canonical(pattern)
        if _is_short(words):
            self._tree.add(words, pattern)
        elif pattern not in self._block_of:
            if not self._blocks or not self._blocks[-1].has_room(words):
                self._blocks.append(_Block())
            self._put(pattern, words, self._blocks[-1])

    def _put(self, pattern: str, words: tuple[str, ...], block: _Block) -> None:
        block.add(pattern, words)
        self._block_of[pattern] = block

    def remove(self, pattern: str) -> None:
        """Remove *pattern*, which must exist."""
        words = canonical(pattern)
        if _is_short(words):
            self._tree.remove(words, pattern)
            return
        block = self._block_of.pop(pattern)
        block.discard(pattern)
        # Patterns of the last block fill the gap, so that there are never many blocks.
        while (last := self._blocks[-1]) is not block:
            moved, words = last.newest()
            if not block.has_room(words):
                return
            last.discard(moved)
            self._put(moved, words, block)
            if not last.patterns:
                self._blocks.pop()
        if not block.patterns:
            self._blocks.pop()

    def matching(self, key: str) -> list[str]:
        """Return the patterns that *key* matches, each once."""
        words = key.split(".")
        found = self._tree.matching(words)
        for block in self._blocks:
            found += block.matching(words)
        self.steps = self._tree.steps + len(self._blocks) * len(words)
        return found


def _is_short(words: tuple[str, ...]) -> bool:
    return len(words) <= LONGEST_SHORT and words.count("#") <= 1


class _Block:
    """Patterns that are matched together; see the head of this module."""

    def __init__(self) -> None:
        self.patterns: dict[str, tuple[str, ...]] = {}
        self._bits = 0
        self._is_built = False
        """Whether the integers below represent the patterns."""
        self._starts = self._stars = self._repeats = 0
        """The first bits of all patterns, the bits of ``*``, and those of ``#``."""
        self._words: dict[str, int] = {}
        """The bits of each other word."""
        self._ends: dict[int, str] = {}
        """The patterns by the bit behind their last word."""

    def has_room(self, words: tuple[str, ...]) -> bool:
        """Tell whether a pattern with *words* may be added."""
        return self._bits + len(words) < BLOCK

    def newest(self) -> tuple[str, tuple[str, ...]]:
        """Return a pattern and its words."""
        pattern = next(reversed(self.patterns))
        return pattern, self.patterns[pattern]

    def add(self, pattern: str, words: tuple[str, ...]) -> None:
        self.patterns[pattern] = words
        self._bits += len(words) + 1
        self._is_built = False

    def discard(self, pattern: str) -> None:
        self._bits -= len(self.patterns.pop(pattern)) + 1
        self._is_built = False

    def _build(self) -> None:
        self._starts = self._stars = self._repeats = 0
        self._words.clear()
        self._ends.clear()
        bit = 1
        for pattern, words in self.patterns.items():
            self._starts |= bit
            for word in words:
                if word == "*":
                    self._stars |= bit
                elif word == "#":
                    self._repeats |= bit
                else:
                    self._words[word] = self._words.get(word, 0) | bit
                bit <<= 1
            self._ends[bit] = pattern
            bit <<= 1
        self._is_built = True

    def matching(self, words: list[str]) -> list[str]:
        """Return the patterns that the *words* of a key match."""
        if not self._is_built:
            self._build()
        bits_of, stars, repeats = self._words.get, self._stars, self._repeats
        bits = self._starts
        bits |= (bits & repeats) << 1  # `#` may stand for no word, and is never twice in a row
        for word in words:
            bits = (bits & (bits_of(word, 0) | stars)) << 1 | bits & repeats
            bits |= (bits & repeats) << 1
            if not bits:
                return []
        return [pattern for bit, pattern in self._ends.items() if bits & bit]


class _PatternNode:
    """A node of the tree; the patterns below it start with the words that lead to it."""

    __slots__ = ("patterns", "repeats", "words")

    def __init__(self, *, repeats: bool) -> None:
        self.words: dict[str, _PatternNode] = {}
        """The next nodes by their word."""
        self.patterns: dict[str, None] = {}
        """The patterns that end here: different ones may have the same canonical words."""
        self.repeats = repeats
        """Whether the word of this node is ``#``, which matches any number of words."""


class _PatternTree:
    """Short patterns as a tree of their words."""

    def __init__(self) -> None:
        self._root = _PatternNode(repeats=False)
        self.steps = 0
        """The nodes that the last `matching` reached."""

    def add(self, words: tuple[str, ...], pattern: str) -> None:
        node = self._root
        for word in words:
            if word not in node.words:
                node.words[word] = _PatternNode(repeats=word == "#")
            node = node.words[word]
        node.patterns[pattern] = None

    def remove(self, words: tuple[str, ...], pattern: str) -> None:
        """Remove *pattern*, and the nodes that led only to it."""
        path = [self._root]
        for word in words:
            path.append(path[-1].words[word])
        del path[-1].patterns[pattern]
        for node, word, after in zip(path[-2::-1], words[::-1], path[:0:-1], strict=True):
            if after.words or after.patterns:
                return
            del node.words[word]

    def matching(self, words: list[str]) -> list[str]:
        nodes = _reached([self._root])
        self.steps = len(nodes)
        for word in words:
            after = (node.words.get(each) for node in nodes for each in {word, "*"})
            nodes = _reached(
                [*(node for node in nodes if node.repeats), *(each for each in after if each)]
            )
            self.steps += len(nodes)
            if not nodes:
                return []
        return [pattern for node in nodes for pattern in node.patterns]


def _reached(nodes: Iterable[_PatternNode]) -> dict[_PatternNode, None]:
    """Return *nodes*, and the nodes behind each ``#`` below them: ``#`` may match no word."""
    found: dict[_PatternNode, None] = {}
    for node in nodes:
        here: _PatternNode | None = node
        while here is not None and here not in found:
            found[here] = None
            here = here.words.get("#")
    return found
