"""Limits that a hub which computes does not mistake for the silence of a broker."""

from __future__ import annotations

import time
from typing import Any

import gevent
import pytest
from gevent.hub import get_hub

from postage.green.amqp.waiting import LOOKS, after_looks, answer_within
from postage.testing.polling import wait_until
from tests.support.late_hub import hold_hub

SOON = 5.0
LIMIT = 0.2


def test_the_time_passes() -> None:
    began, over = time.monotonic(), list[float]()
    after_looks(LIMIT, lambda: over.append(time.monotonic()))
    wait_until(lambda: over, SOON)
    gevent.sleep(2 * LIMIT / LOOKS)

    assert len(over) == 1
    assert over[0] - began > LIMIT * 0.9


def test_a_closed_timer_calls_nobody() -> None:
    over = list[int]()
    after_looks(LIMIT, lambda: over.append(1)).close()
    after_looks(2 * LIMIT, lambda: over.append(2))
    wait_until(lambda: over, SOON)

    assert over == [2]


def test_a_hub_that_was_late_gets_more_time() -> None:
    over = list[float]()
    after_looks(LIMIT, lambda: over.append(time.monotonic()))
    hold_hub(3 * LIMIT)
    since = time.monotonic()
    wait_until(lambda: over, SOON)

    # Two parts are lost, and of the last one only what the clock of the hub was ahead.
    assert over[0] - since > LIMIT / LOOKS


def test_the_error_interrupts_the_wait() -> None:
    error = KeyError("late")
    with pytest.raises(KeyError) as raised, answer_within(LIMIT, error):
        gevent.sleep(SOON)

    assert raised.value is error


def test_a_block_that_ends_in_time() -> None:
    with answer_within(LIMIT, KeyError("late")):
        gevent.sleep(0.01)
    gevent.sleep(2 * LIMIT)


def test_no_limit() -> None:
    with answer_within(None, KeyError("late")):
        gevent.sleep(0.01)


def test_what_has_arrived_meanwhile_is_in_time() -> None:
    """It lies there, and the hub has not looked: as an answer in a socket."""
    arrived = get_hub().loop.async_()
    waiter: Any = gevent.hub.Waiter()
    arrived.start(waiter.switch, None)
    with answer_within(LIMIT, KeyError("late")):
        arrived.send()
        hold_hub(3 * LIMIT)
        waiter.get()
    arrived.close()
