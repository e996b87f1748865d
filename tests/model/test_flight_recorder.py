"""The flight recorder keeps the last minute, within bounds, whatever is noted."""

from __future__ import annotations

import json
import threading

from postage.flight_recorder import LONGEST, MOST, WINDOW, EventKind, FlightRecorder
from tests.support.clock import Clock


def test_it_shows_the_last_minute_the_oldest_first() -> None:
    clock = Clock()
    recorder = FlightRecorder(clock)
    recorder.note(EventKind.ALARM, "too old")
    clock.now += WINDOW + 1
    recorder.note(EventKind.CONNECTION, "first")
    clock.now += 2
    recorder.note(EventKind.SLOW, "second", 1.5)

    assert [each.text for each in recorder.entries()] == ["first", "second"]
    assert [each.text for each in recorder.entries(window=1)] == ["second"]
    assert recorder.values() == [
        {"kind": "connection", "ago": 2, "seconds": 0.0, "text": "first"},
        {"kind": "slow", "ago": 0, "seconds": 1.5, "text": "second"},
    ]
    _, second = recorder.lines()
    assert second.endswith(" slow for 1.50 s: second")


def test_a_flood_of_one_kind_leaves_the_others() -> None:
    recorder = FlightRecorder(Clock())
    recorder.note(EventKind.REFUSAL, "the only one")
    for number in range(10 * MOST):
        recorder.note(EventKind.SLOW, number)

    assert len(recorder.entries()) == MOST + 1
    assert "the only one" in [each.text for each in recorder.entries()]


def test_what_peers_wrote_is_cut_and_escaped() -> None:
    recorder = FlightRecorder(Clock())
    entry = recorder.note(EventKind.REFUSAL, "\x1b[2J\n" + 10_000 * "x")
    entry.rename("\r" + entry.text)

    assert entry.text.startswith("\\r\\x1b[2J\\n")
    assert entry.text.isprintable()
    assert len(entry.text) < LONGEST + 50
    assert "\n" not in recorder.lines()[0]
    assert len(json.dumps(recorder.values())) < 1000


def test_it_takes_at_most_a_megabyte() -> None:
    recorder = FlightRecorder(Clock())
    for kind in EventKind:
        for _ in range(2 * MOST):
            recorder.note(kind, 10 * LONGEST * "\N{SNOWMAN}")

    assert sum(len(each.text.encode()) for each in recorder.entries()) < 2_000_000
    assert len(recorder.entries()) == MOST * len(EventKind)


def test_threads_may_note_while_others_read() -> None:
    recorder = FlightRecorder()

    def note() -> None:
        for number in range(2000):
            recorder.note(EventKind.SLOW, number)

    threads = [threading.Thread(target=note) for _ in range(3)]
    for each in threads:
        each.start()
    while any(each.is_alive() for each in threads):
        recorder.lines()
    assert len(recorder.entries()) == MOST


def test_a_cleared_recorder_is_empty() -> None:
    recorder = FlightRecorder(Clock())
    recorder.note(EventKind.HELD, "x")
    recorder.clear()
    assert not recorder.entries()
