"""What each browser gets of the states: the difference, or everything if it is behind."""

from __future__ import annotations

import json
from typing import Any

import pytest

from postage.cli.console.browser_events import StateStream, TooManyBrowsers, difference

HISTORY = {"queues": {"q": [1, 2]}}


def stream(most: int = 2) -> StateStream:
    return StateStream(lambda: HISTORY, most)


def event(text: bytes) -> tuple[str, Any]:
    """Return the name and the data of one event."""
    name, data, *rest = text.decode().split("\n")
    assert rest == ["", ""]
    return name.removeprefix("event: "), json.loads(data.removeprefix("data: "))


def test_a_difference_has_what_is_new_changed_or_gone():
    before = {"a": {"same": 1, "changed": 2, "gone": 3}, "b": {"x": 1}, "c": {"x": 1}}
    after = {"a": {"same": 1, "changed": 4, "new": None}, "b": {"x": 1}, "c": {}}

    assert difference(before, after) == {
        "a": {"changed": 4, "new": None, "gone": None},
        "c": {"x": None},
    }


def test_a_browser_gets_the_state_and_then_changes():
    states = stream()
    states.publish({"a": {"x": 1}})
    events = states.events()

    assert event(next(events)) == ("state", {"a": {"x": 1}, "history": HISTORY})
    states.publish({"a": {"x": 1, "y": 2}})
    assert event(next(events)) == ("change", {"a": {"y": 2}})


def test_a_browser_that_is_behind_gets_the_state():
    states = stream()
    events = states.events()
    states.publish({"a": {"x": 1}})
    next(events)

    for number in range(3):
        states.publish({"a": {"x": 1, "number": number}})

    assert event(next(events)) == ("state", {"a": {"x": 1, "number": 2}, "history": HISTORY})


def test_a_state_like_the_one_before_is_no_event():
    states = stream()
    states.publish({"a": {"x": 1}})

    states.publish({"a": {"x": 1}})

    assert states.after(states.number) == (states.number, b"")


def test_all_browsers_get_the_same_bytes():
    states = stream()
    states.publish({"a": {"x": 1}})
    one, other = states.events(), states.events()

    assert next(one) is next(other)
    states.publish({"a": {"x": 2}})
    assert next(one) is next(other)


def test_line_breaks_of_peers_begin_no_event():
    states = stream()
    text = "\n\nevent: state\r\ndata: {}\u2028\n\n"
    states.publish({"a": {"x": text}})

    assert event(next(states.events()))[1]["a"]["x"] == text


def test_a_place_is_free_again_when_a_browser_has_gone():
    states = stream(most=1)
    events = states.events()
    with pytest.raises(TooManyBrowsers):
        states.events()

    events.close()
    events.close()

    assert states.streams == 0
    states.events()
