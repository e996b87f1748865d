"""Waking one greenlet: by the bell, by time, and by nothing else."""

from __future__ import annotations

import time

import gevent
import pytest

from postage.green.amqp.bell import Bell
from tests.support.stopwatch import Stopwatch

AGES = 60.0
SOON = 5.0


def in_block(bell: Bell, seconds: float = AGES) -> str:
    """Wait for ages, twice, in a block; return how that ended."""
    with bell.within(seconds):
        gevent.sleep(0.001)
        gevent.sleep(AGES)
        return "whole"
    return "cut"


def in_wait(bell: Bell, seconds: float = AGES) -> str:
    """Wait for the bell; return whether it rang."""
    bell.wait(seconds)
    return "cut" if bell.is_rung else "whole"


WAYS = pytest.mark.parametrize("way", [in_wait, in_block])


@WAYS
def test_it_wakes_who_waits(way) -> None:
    bell = Bell()
    run = gevent.spawn(way, bell)
    gevent.sleep(0.01)
    assert not run.dead
    bell.ring()
    assert run.get(timeout=SOON) == "cut"


@WAYS
def test_a_bell_that_has_rung_makes_nobody_wait(way) -> None:
    bell = Bell()
    bell.ring()
    assert way(bell) == "cut"


def test_a_bell_that_has_rung_does_not_even_switch() -> None:
    bell, turns = Bell(), []
    bell.ring()
    gevent.get_hub().loop.run_callback(turns.append, 1)
    bell.wait(AGES)
    assert not turns


@WAYS
def test_time_ends_the_wait(way) -> None:
    bell, watch = Bell(), Stopwatch()
    way(bell, 0.05)
    assert 0.05 <= watch.seconds < AGES
    assert not bell.is_rung


@WAYS
def test_time_runs_from_the_wait_whatever_was_computed_before(way) -> None:
    gevent.sleep(0.001)
    end = time.monotonic() + 0.1
    while time.monotonic() < end:
        pass
    watch = Stopwatch()
    way(Bell(), 0.05)
    assert watch.seconds >= 0.05


@pytest.mark.parametrize("seconds", [0.0, 0.001])
def test_no_time_at_all_is_a_turn_of_the_hub(seconds: float) -> None:
    bell, turns = Bell(), []
    gevent.get_hub().loop.run_callback(turns.append, 1)
    bell.wait(seconds)
    assert turns


def test_muted_it_can_ring_again() -> None:
    bell = Bell()
    for _ in range(3):
        bell.ring()
        bell.mute()
        run = gevent.spawn(in_wait, bell)
        gevent.sleep(0.005)
        assert not run.dead
        bell.ring()
        assert run.get(timeout=SOON) == "cut"
        bell.mute()


def test_ringing_twice_is_ringing_once() -> None:
    bell = Bell()

    def wait_twice() -> list[str]:
        first = in_wait(bell)
        bell.mute()
        return [first, in_wait(bell, 0.05)]

    run = gevent.spawn(wait_twice)
    gevent.sleep(0.005)
    bell.ring()
    bell.ring()
    assert run.get(timeout=SOON) == ["cut", "whole"]


def test_a_ring_is_not_for_the_next_who_waits_elsewhere() -> None:
    """It rings when the wait is over by time: the next block hears nothing of it."""
    bell = Bell()

    def both() -> str:
        bell.wait(0.01)
        bell.mute()
        with bell.within(AGES):
            gevent.sleep(0.03)
            return "whole"
        return "cut"

    run = gevent.spawn(both)
    gevent.get_hub().loop.timer(0.01).start(bell.ring)
    gevent.sleep(0.01)
    bell.mute()
    assert run.get(timeout=SOON) == "whole"


def test_a_block_that_does_not_wait_long_is_left_alone() -> None:
    bell, said = Bell(), []
    with bell.within(AGES):
        gevent.sleep(0.001)
        said.append("whole")
    bell.ring()
    gevent.sleep(0.005)  # nothing comes after it
    assert said == ["whole"]


def test_the_bell_and_what_is_awaited_at_the_same_moment() -> None:
    """The greenlet was about to go on when the bell rang: it is thrown out just once."""
    bell, other = Bell(), Bell()

    def both() -> str:
        with bell.within(AGES):
            other.wait(AGES)
        gevent.sleep(0.01)
        return "went on"

    for first, second in ((bell, other), (other, bell)):
        run = gevent.spawn(both)
        gevent.sleep(0.005)
        first.ring()
        second.ring()
        assert run.get(timeout=SOON) == "went on"
        bell.mute()
        other.mute()


@WAYS
def test_timeouts_of_others_pass_through(way) -> None:
    with pytest.raises(gevent.Timeout), gevent.Timeout(0.02):
        way(Bell())


def test_errors_pass_through() -> None:
    with pytest.raises(KeyError), Bell().within(AGES):
        raise KeyError


@WAYS
def test_a_killed_greenlet_ends_in_it_and_the_bell_goes_on(way) -> None:
    bell = Bell()
    run = gevent.spawn(way, bell)
    gevent.sleep(0.005)
    run.kill(block=False)
    bell.ring()
    run.join(SOON)
    assert isinstance(run.value, gevent.GreenletExit)
    assert way(bell) == "cut"
