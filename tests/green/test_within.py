"""One limit for several waits: by time, by an event, and by nothing else."""

from __future__ import annotations

import gevent
import pytest
from gevent.event import Event

from postage.green.within import within
from tests.support.stopwatch import Stopwatch

AGES = 60.0


def wait(seconds: float, event: Event) -> str:
    """Wait for ages, twice; return how that ended."""
    with within(seconds, event):
        gevent.sleep(0.001)
        gevent.sleep(AGES)
        return "whole"
    return "cut"


def test_a_block_that_does_not_wait_long_is_left_alone() -> None:
    event, said = Event(), []
    with within(AGES, event):
        gevent.sleep(0.001)
        said.append("whole")
    event.set()
    gevent.sleep(0.001)  # nothing comes after it
    assert said == ["whole"]
    assert event.linkcount() == 0


def test_time_ends_the_block() -> None:
    watch = Stopwatch()
    assert wait(0.05, Event()) == "cut"
    assert 0.05 <= watch.seconds < AGES


def test_the_event_ends_the_block() -> None:
    event = Event()
    run = gevent.spawn(wait, AGES, event)
    gevent.sleep(0.01)
    event.set()
    assert run.get(timeout=5) == "cut"
    assert event.linkcount() == 0


def test_an_event_that_was_set_before_ends_it_at_its_first_wait() -> None:
    event = Event()
    event.set()
    assert wait(AGES, event) == "cut"


def test_timeouts_and_errors_of_others_pass_through() -> None:
    event = Event()
    with pytest.raises(gevent.Timeout), gevent.Timeout(0.02):
        wait(AGES, event)
    with pytest.raises(KeyError), within(AGES, event):
        raise KeyError
    assert event.linkcount() == 0


def test_a_killed_greenlet_ends_in_it() -> None:
    event = Event()
    run = gevent.spawn(wait, AGES, event)
    gevent.sleep(0.01)
    run.kill()
    assert isinstance(run.value, gevent.GreenletExit)
    assert event.linkcount() == 0


def test_the_event_and_what_is_awaited_at_the_same_moment() -> None:
    """The greenlet was about to go on when the event came: it is thrown out just once."""
    event, awaited = Event(), Event()

    def both() -> str:
        with within(AGES, event):
            awaited.wait()
        gevent.sleep(0.01)
        return "went on"

    run = gevent.spawn(both)
    gevent.sleep(0.01)
    event.set()
    awaited.set()
    assert run.get(timeout=5) == "went on"
