"""What is made of the stacks that were seen."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import pytest

from benchmarks.flame import TITLE, WIDTH, flame, nested
from benchmarks.profile import costs, counted, named

STACKS = """\
main (work.py:3);send (a/frames.py:10) 30
main (work.py:4);send (a/frames.py:11);join (a/frames.py:99) 10
main (work.py:4) 60
HubMonitor._run (hub_monitor.py:96) 500
"""


def test_lines_of_a_function_count_as_one():
    assert named("Codec.feed (a/codec.py:12)") == "Codec.feed (a/codec.py)"
    seen = counted(STACKS)
    assert seen["main (work.py)", "send (a/frames.py)"] == 30
    assert sum(seen.values()) == 100, "a waiting thread was counted"


def test_a_function_has_a_total_cost_and_a_cost_of_its_own():
    told = {name: (inside, itself) for name, inside, itself in costs(counted(STACKS), 50.0)}
    assert told["main (work.py)"] == (50.0, 30.0)
    assert told["send (a/frames.py)"] == pytest.approx((20.0, 15.0))


def test_each_function_stands_below_its_caller():
    stacks = {("main", "b"): 30, ("main", "a", "c"): 10, ("main",): 60, ("other",): 5}
    assert list(nested(stacks)) == [
        (0, 0, "main", 100),
        (0, 1, "a", 10),
        (0, 2, "c", 10),
        (10, 1, "b", 30),
        (100, 0, "other", 5),
    ]


def test_the_picture_says_what_each_function_takes():
    picture = flame([("RPC: client", counted(STACKS), 50.0)] * 2)
    drawn = ET.fromstring(picture)  # noqa: S314 - our own
    titles = [one.text for one in drawn.iter("{http://www.w3.org/2000/svg}title")]
    boxes = list(drawn.iter("{http://www.w3.org/2000/svg}rect"))[1:]

    assert titles[:2] == ["main (work.py): 50.0 \u00b5s", "send (a/frames.py): 20.0 \u00b5s"]
    assert [float(box.attrib["width"]) for box in boxes[:2]] == [WIDTH, 0.4 * WIDTH]
    assert float(boxes[0].attrib["y"]) == TITLE
    assert len(titles) == len(boxes) == 6
