"""What is made of the stacks that were seen."""

from __future__ import annotations

import pytest

from benchmarks.profile import costs, counted, named

STACKS = """\
main (work.py:3);send (a/frames.py:10) 30
main (work.py:4);send (a/frames.py:11);join (a/frames.py:99) 10
main (work.py:4) 60
Guard._run (guard.py:96) 500
"""


def test_lines_of_a_function_count_as_one():
    assert named("HotPath.feed (a/hotpath.py:12)") == "HotPath.feed (a/hotpath.py)"
    seen = counted(STACKS)
    assert seen["main (work.py)", "send (a/frames.py)"] == 30
    assert sum(seen.values()) == 100, "a waiting thread was counted"


def test_a_function_costs_its_part_with_and_without_what_it_calls():
    told = {name: (inside, itself) for name, inside, itself in costs(counted(STACKS), 50.0)}
    assert told["main (work.py)"] == (50.0, 30.0)
    assert told["send (a/frames.py)"] == pytest.approx((20.0, 15.0))
