"""Topic patterns as a tree: the same as one by one, but few of them are looked at."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from postage.broker.core.routing import TopicPatterns, topic_matches
from tests.support.instructions import instructions

words = st.sampled_from(("a", "b", "", "*", "#"))
keys = st.lists(words, min_size=1, max_size=5).map(".".join)


@given(st.lists(st.tuples(keys, st.booleans()), max_size=30), keys)
def test_what_is_there_matches_as_one_by_one(changes: list[tuple[str, bool]], key: str) -> None:
    patterns, there = TopicPatterns(), set[str]()
    for pattern, stays in changes:
        patterns.add(pattern)
        there.add(pattern)
        if not stays:
            patterns.remove(pattern)
            there.remove(pattern)
    found = patterns.matching(key)
    assert len(found) == len(set(found))
    assert set(found) == {each for each in there if topic_matches(each, key)}


def test_nothing_is_left_of_what_was_removed() -> None:
    patterns = TopicPatterns()
    for pattern in ("a.b.#", "a", "#"):
        patterns.add(pattern)
    for pattern in ("a", "a.b.#", "#"):
        patterns.remove(pattern)
    assert not patterns._root.words


def test_patterns_that_begin_otherwise_cost_nothing() -> None:
    few, many = TopicPatterns(), TopicPatterns()
    for patterns, count in ((few, 10), (many, 1000)):
        for number in range(count):
            patterns.add(f"{number}.*.#")
    assert many.matching("7.a.b") == ["7.*.#"]
    assert instructions(lambda: many.matching("7.a.b")) == instructions(
        lambda: few.matching("7.a.b")
    )


def test_a_long_pattern_takes_no_long_time() -> None:
    patterns = TopicPatterns()
    patterns.add(".".join(["#", "a"] * 60))
    assert not patterns.matching(".".join(["a"] * 120) + ".b")
