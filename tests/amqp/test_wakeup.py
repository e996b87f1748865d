"""A wait ends with its wakeup or at its limit, and in no other way."""

from __future__ import annotations

import time

import gevent
import pytest

from postage.green.amqp.waiting import Wakeup
from tests.support.stopwatch import Stopwatch
from tests.support.waiting import assert_stays

AGES = 60.0
SOON = 5.0


def in_block(wakeup: Wakeup, seconds: float = AGES) -> str:
    """Wait in a block; return whether the block ran whole or was cut."""
    with wakeup.within(seconds):
        gevent.sleep(0.001)
        gevent.sleep(AGES)
        return "whole"
    return "cut"


def in_wait(wakeup: Wakeup, seconds: float = AGES) -> str:
    """Wait for the wakeup; return whether it was set."""
    wakeup.wait(seconds)
    return "cut" if wakeup.is_set else "whole"


WAYS = pytest.mark.parametrize("way", [in_wait, in_block])


@WAYS
def test_it_wakes_the_waiting_greenlet(way) -> None:
    wakeup = Wakeup()
    run = gevent.spawn(way, wakeup)
    assert_stays(lambda: not run.dead, 0.01)
    wakeup.set()
    assert run.get(timeout=SOON) == "cut"


@WAYS
def test_a_set_wakeup_ends_a_wait_at_once(way) -> None:
    wakeup = Wakeup()
    wakeup.set()
    assert way(wakeup) == "cut"


def test_waiting_for_a_set_wakeup_does_not_switch() -> None:
    wakeup, turns = Wakeup(), []
    wakeup.set()
    gevent.get_hub().loop.run_callback(turns.append, 1)
    wakeup.wait(AGES)
    assert not turns


@WAYS
def test_time_ends_the_wait(way) -> None:
    wakeup, watch = Wakeup(), Stopwatch()
    way(wakeup, 0.05)
    assert 0.05 <= watch.seconds < AGES
    assert not wakeup.is_set


@WAYS
def test_time_runs_from_the_wait_whatever_was_computed_before(way) -> None:
    gevent.sleep(0.001)
    end = time.monotonic() + 0.1
    while time.monotonic() < end:
        pass
    watch = Stopwatch()
    way(Wakeup(), 0.05)
    assert watch.seconds >= 0.05


@pytest.mark.parametrize("seconds", [0.0, 0.001])
def test_a_wait_of_zero_takes_a_turn_of_the_hub(seconds: float) -> None:
    wakeup, turns = Wakeup(), []
    gevent.get_hub().loop.run_callback(turns.append, 1)
    wakeup.wait(seconds)
    assert turns


def test_a_cleared_wakeup_can_be_set_again() -> None:
    wakeup = Wakeup()
    for _ in range(3):
        wakeup.set()
        wakeup.clear()
        run = gevent.spawn(in_wait, wakeup)
        assert_stays(lambda run=run: not run.dead, 0.005)
        wakeup.set()
        assert run.get(timeout=SOON) == "cut"
        wakeup.clear()


def test_setting_twice_wakes_once() -> None:
    wakeup = Wakeup()

    def wait_twice() -> list[str]:
        first = in_wait(wakeup)
        wakeup.clear()
        return [first, in_wait(wakeup, 0.05)]

    run = gevent.spawn(wait_twice)
    gevent.idle()
    wakeup.set()
    wakeup.set()
    assert run.get(timeout=SOON) == ["cut", "whole"]


def test_a_late_set_does_not_end_a_later_wait() -> None:
    """A wakeup that is set after the wait has timed out does not interrupt the next block."""
    wakeup = Wakeup()

    def both() -> str:
        wakeup.wait(0.01)
        wakeup.clear()
        with wakeup.within(AGES):
            gevent.sleep(0.03)
            return "whole"
        return "cut"

    run = gevent.spawn(both)
    gevent.get_hub().loop.timer(0.01).start(wakeup.set)
    gevent.sleep(0.01)
    wakeup.clear()
    assert run.get(timeout=SOON) == "whole"


def test_a_block_that_does_not_wait_long_is_left_alone() -> None:
    wakeup, said = Wakeup(), []
    with wakeup.within(AGES):
        gevent.sleep(0.001)
        said.append("whole")
    wakeup.set()
    gevent.sleep(0.005)  # nothing comes after it
    assert said == ["whole"]


def test_a_set_and_the_awaited_event_in_the_same_turn() -> None:
    """If the greenlet was about to continue when the wakeup is set, the block ends once."""
    wakeup, other = Wakeup(), Wakeup()

    def both() -> str:
        with wakeup.within(AGES):
            other.wait(AGES)
        gevent.sleep(0.01)
        return "went on"

    for first, second in ((wakeup, other), (other, wakeup)):
        run = gevent.spawn(both)
        gevent.idle()
        first.set()
        second.set()
        assert run.get(timeout=SOON) == "went on"
        wakeup.clear()
        other.clear()


@WAYS
def test_timeouts_of_others_pass_through(way) -> None:
    with pytest.raises(gevent.Timeout), gevent.Timeout(0.02):
        way(Wakeup())


def test_errors_pass_through() -> None:
    with pytest.raises(KeyError), Wakeup().within(AGES):
        raise KeyError


@WAYS
def test_a_killed_waiter_leaves_the_wakeup_usable(way) -> None:
    wakeup = Wakeup()
    run = gevent.spawn(way, wakeup)
    assert_stays(lambda: not run.dead, 0.005)
    run.kill(block=False)
    wakeup.set()
    run.join(SOON)
    assert isinstance(run.value, gevent.GreenletExit)
    assert way(wakeup) == "cut"
