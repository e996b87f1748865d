"""Which bindings a message matches."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postage.broker.core.routing import BrokerBinding, BrokerExchange
from postage.broker.core.topic_patterns import BLOCK, TopicPatterns, canonical
from postage.broker.wire.content import MessageHeader, PublishedMessage, encode_properties
from postage.broker.wire.exceptions import ChannelFault
from tests.support.instructions import instructions

words = st.sampled_from(("a", "b", "", "long"))
keys = st.lists(words, min_size=1, max_size=5).map(".".join)
patterns = st.lists(words | st.sampled_from(("*", "#")), min_size=1, max_size=5).map(".".join)


def topic_matches(pattern: str, key: str) -> bool:
    """Tell whether a set of this pattern alone matches."""
    tree = TopicPatterns()
    tree.add(pattern)
    return tree.matching(key) == [pattern]


def naive(pattern: list[str], key: list[str]) -> bool:
    """Match by the definition, word by word: simple and slow."""
    if not pattern:
        return not key
    if pattern[0] == "#":
        return any(naive(pattern[1:], key[n:]) for n in range(len(key) + 1))
    return bool(key) and pattern[0] in ("*", key[0]) and naive(pattern[1:], key[1:])


@given(patterns, keys)
def test_topics_match_as_defined(pattern: str, key: str) -> None:
    assert topic_matches(pattern, key) == naive(pattern.split("."), key.split("."))


def test_a_long_pattern_takes_no_long_time() -> None:
    assert not topic_matches(".".join(["#", "a"] * 60), ".".join(["a"] * 120) + ".b")


def message(key: str = "", **headers: Any) -> PublishedMessage:
    header = MessageHeader(encode_properties({"headers": headers}))
    return PublishedMessage("e", key, header, b"")


def hits(exchange: BrokerExchange, key: str = "", **headers: Any) -> list[str]:
    return [b.destination for b in exchange.matching(key, message(key, **headers))]


def test_direct_compares_the_key() -> None:
    exchange = BrokerExchange("e", "direct")
    exchange.bind(BrokerBinding("queue", "one", "k"))
    exchange.bind(BrokerBinding("queue", "two", "other"))
    assert hits(exchange, "k") == ["one"]


def test_fanout_asks_for_nothing() -> None:
    exchange = BrokerExchange("e", "fanout")
    exchange.bind(BrokerBinding("queue", "one", "k"))
    assert hits(exchange, "whatever") == ["one"]


@pytest.mark.parametrize(
    ("arguments", "headers", "matches"),
    [
        ({"x-match": "all", "a": 1, "b": 2}, {"a": 1, "b": 2, "c": 3}, True),
        ({"x-match": "all", "a": 1, "b": 2}, {"a": 1}, False),
        ({"a": 1, "b": 2}, {"a": 1}, False),  # all is what holds without x-match
        ({"x-match": "any", "a": 1, "b": 2}, {"b": 2}, True),
        ({"x-match": "any", "a": 1}, {"a": 2}, False),
        ({"x-match": "any"}, {"a": 1}, False),
        ({"x-match": "all"}, {}, True),
        ({"x-match": "all", "x-a": 1}, {}, True),  # x-... is not looked at
        ({"x-match": "all-with-x", "x-a": 1}, {}, False),
        ({"x-match": "any-with-x", "x-a": 1}, {"x-a": 1}, True),
        ({"a": None}, {"a": "anything"}, True),  # no value: the header is there
        ({"a": None}, {}, False),
    ],
)
def test_headers(arguments: dict[str, Any], headers: dict[str, Any], matches: bool) -> None:
    exchange = BrokerExchange("e", "headers")
    exchange.bind(BrokerBinding("queue", "one", "", arguments))
    assert bool(hits(exchange, **headers)) is matches


def test_a_headers_binding_says_how_to_match() -> None:
    with pytest.raises(ChannelFault, match='Invalid x-match field value <<"some">>'):
        BrokerExchange("e", "headers").check(BrokerBinding("queue", "one", "", {"x-match": "some"}))
    with pytest.raises(ChannelFault, match="Invalid x-match field type signedint"):
        BrokerExchange("e", "headers").check(BrokerBinding("queue", "one", "", {"x-match": 1}))


def test_binding_twice_is_binding_once() -> None:
    exchange = BrokerExchange("e", "topic")
    for _ in range(2):
        exchange.bind(BrokerBinding("queue", "one", "#", {"a": 1, "b": 2}))
        exchange.bind(BrokerBinding("queue", "one", "#", {"b": 2, "a": 1}))
    assert len(exchange.bindings) == 1
    assert exchange.unbind(BrokerBinding("queue", "one", "#", {"a": 1, "b": 2}))
    assert not exchange.unbind(BrokerBinding("queue", "one", "#", {"a": 1, "b": 2}))
    assert hits(exchange, "k") == []


def test_a_destination_that_is_gone_takes_its_bindings_with_it() -> None:
    exchange = BrokerExchange("e", "direct")
    for kind, key in (("queue", "k"), ("queue", "l"), ("exchange", "k")):
        exchange.bind(BrokerBinding(kind, "one", key))
    assert exchange.unbind_destination("queue", "one")
    assert [b.destination_type for b in exchange.bindings] == ["exchange"]


@pytest.mark.parametrize("kind", ["direct", "topic"])
def test_other_bindings_make_nothing_slower(kind: str) -> None:
    few, many = (crowded(BrokerExchange("e", kind), count) for count in (10, 1000))
    for exchange in (few, many):
        exchange.bind(BrokerBinding("queue", "one", "key-0"))

    def all_about_it(exchange: BrokerExchange) -> None:
        assert hits(exchange, "key-0")[-1] == "one"
        assert exchange.unbind_destination("queue", "one")
        assert not exchange.unbind_destination("queue", "one")

    all_about_it(crowded(BrokerExchange("e", kind), 0, "one"))  # some is done the first time only
    assert instructions(lambda: all_about_it(many)) == instructions(lambda: all_about_it(few))


def crowded(exchange: BrokerExchange, count: int, *more: str) -> BrokerExchange:
    for number in range(count):
        exchange.bind(BrokerBinding("queue", f"queue-{number}", f"key-{number}"))
    for name in more:
        exchange.bind(BrokerBinding("queue", name, "key-0"))
    return exchange


# --- patterns as a tree


@given(st.lists(st.tuples(patterns, st.booleans()), max_size=30), patterns)
def test_a_tree_of_patterns_matches_the_same(changes: list[tuple[str, bool]], key: str) -> None:
    tree, there = TopicPatterns(), set[str]()
    for pattern, stays in changes:
        tree.add(pattern)
        there.add(pattern)
        if not stays:
            tree.remove(pattern)
            there.remove(pattern)
    found = tree.matching(key)
    assert len(found) == len(set(found))
    assert set(found) == {each for each in there if naive(each.split("."), key.split("."))}


def test_nothing_is_left_of_what_was_removed() -> None:
    tree, empty = TopicPatterns(), TopicPatterns()
    for pattern in ("a.b.#", "a", "#"):
        tree.add(pattern)
    for pattern in ("a", "a.b.#", "#"):
        tree.remove(pattern)
    steps = [instructions(lambda each=each: each.matching("a.b")) for each in (tree, empty)]
    assert steps[0] == steps[1]


def test_patterns_with_another_start_cost_nothing() -> None:
    few, many = TopicPatterns(), TopicPatterns()
    for tree, count in ((few, 10), (many, 1000)):
        for number in range(count):
            tree.add(f"{number}.*.#")
    assert many.matching("7.a.b") == ["7.*.#"]
    assert instructions(lambda: many.matching("7.a.b")) == instructions(
        lambda: few.matching("7.a.b")
    )


def test_a_long_pattern_in_a_tree_takes_no_long_time() -> None:
    tree = TopicPatterns()
    tree.add(".".join(["#", "a"] * 60))
    assert not tree.matching(".".join(["a"] * 120) + ".b")


# --- patterns that are made to be slow

hostile_patterns = st.lists(
    st.sampled_from(("a", "b", "*", "#", "#")), min_size=1, max_size=14
).map(".".join)
long_keys = st.lists(st.sampled_from("ab"), max_size=16).map(".".join)


@given(st.lists(hostile_patterns, max_size=60, unique=True), st.data())
def test_sets_of_slow_patterns_match_as_defined(all_patterns: list[str], data: Any) -> None:
    found = TopicPatterns()
    for pattern in all_patterns:
        found.add(pattern)
    gone = data.draw(st.sets(st.sampled_from(all_patterns))) if all_patterns else set()
    for pattern in gone:
        found.remove(pattern)
    key = data.draw(long_keys)
    matching = found.matching(key)
    assert len(matching) == len(set(matching))
    assert set(matching) == {p for p in set(all_patterns) - gone if topic_matches(p, key)}


@pytest.mark.parametrize(
    ("pattern", "same"),
    [("#.#", "#"), ("#.*.#", "*.#"), ("a.#.#.#.b", "a.#.b"), ("*.#.*.#.#", "*.*.#"), ("a", "a")],
)
def test_needless_wildcards_are_dropped(pattern: str, same: str) -> None:
    assert canonical(pattern) == tuple(same.split("."))


FAMILIES = {
    "words between hashes": lambda bits: ".".join(f"#.{'ab'[bit]}" for bit in bits),
    "stars between hashes": lambda bits: "#." + ".".join("ab*"[bit * 2] + ".#" for bit in bits),
    "hashes around all": lambda bits: "#." + ".".join("ab"[bit] for bit in bits) + ".#",
    "stars or words": lambda bits: ".".join("a*"[bit] for bit in bits[:8]),
    "hash, then stars or words": lambda bits: "#." + ".".join("a*"[bit] for bit in bits[:7]),
    "many hashes at the end": lambda bits: ".".join("ab"[bit] for bit in bits) + ".#" * 100,
}


@pytest.mark.parametrize("family", FAMILIES)
def test_no_family_of_patterns_takes_a_long_time(family: str) -> None:
    found, count = TopicPatterns(), 1000
    for number in range(count):
        found.add(FAMILIES[family]([number >> at & 1 for at in range(10)]))
    for key in (".".join("ab" * 64)[:255], ".".join("a" * 128), ".".join("a" * 127) + ".c"):
        found.matching(key)
        assert found.steps <= 128 * (256 + count // 50), "128 words, each with few nodes and blocks"


def test_blocks_of_patterns_are_filled_up() -> None:
    found = TopicPatterns()
    several = [f"#.{number}.#" for number in range(200)]
    for pattern in several:
        found.add(pattern)
    for pattern in several[:-1]:
        found.remove(pattern)
    assert found.matching(several[-1].strip("#.")) == [several[-1]]
    assert found.steps <= 3, "one block is left"


@pytest.mark.parametrize("lengths", [(3, 120), (120, 3), (9, 10, 120), (60,)])
def test_blocks_stay_full_whatever_is_removed(lengths: tuple[int, ...]) -> None:
    found, several = TopicPatterns(), []
    for number in range(600):
        words = [str(number), *"#" * 2, *"x" * lengths[number % len(lengths)]]
        several.append(".".join(f"#.{word}" for word in words)[:255].rstrip("."))
    for pattern in several:
        found.add(pattern)
    for at in (3, 2):  # each third, then half of the rest
        for pattern in several[::at]:
            found.remove(pattern)
        del several[::at]
    found.matching("y")
    bits = sum(len(canonical(pattern)) + 1 for pattern in several)
    assert found.steps <= bits // (BLOCK - 256) + 2
