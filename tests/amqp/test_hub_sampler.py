"""The sampler tells the flight recorder which line holds a hub."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from typing import Any

import gevent
import pytest
from gevent.monkey import get_original

from postage.flight_recorder import Entry, EventKind, flight_recorder
from postage.green.amqp.hub_monitor import HubMonitor
from tests.amqp.test_hub_monitor import Monitored

SOON = 10.0
HOLD = 0.5
sleep = get_original("time", "sleep")


@pytest.fixture
def connection() -> Iterator[Monitored]:
    """A connection whose hub is sampled."""
    flight_recorder.clear()
    monitor, connection = HubMonitor(), Monitored()
    monitor.add(connection, 5.0)
    yield connection
    monitor.discard(connection)
    monitor._at_exit()


def held() -> list[Entry]:
    return [each for each in flight_recorder.entries() if each.kind is EventKind.HELD]


def line_of(function: Any) -> str:
    """Return how an entry names the line after that of the ``def`` of *function*."""
    return f"{__file__}:{function.__code__.co_firstlineno + 1} ("


def waits() -> None:
    sleep(HOLD)


def computes() -> None:
    sum(i * i for i in iter(lambda: time.monotonic() < now[0] + HOLD, False))


now = [0.0]


def in_c_code() -> None:
    re.match("(a+)+$", "a" * backtracked[0] + "b")


backtracked = [18]


@pytest.mark.parametrize("stall", [waits, computes, in_c_code])
def test_the_line_that_holds_the_hub_is_named(connection: Monitored, stall: Any) -> None:
    def is_named() -> bool:
        took, backtracked[0] = 0.0, 18
        while took < HOLD:
            gevent.sleep(0.2)
            backtracked[0] += 1
            now[0] = began = time.monotonic()
            stall()
            took = time.monotonic() - began
        gevent.sleep(0.2)
        found = [each for each in held() if each.text.startswith(line_of(stall))]
        return any(0.1 <= each.seconds <= took + 0.2 for each in found)

    assert any(is_named() for _ in range(5)), "on a busy machine the look may come too late"


def test_the_entry_is_there_while_the_hub_is_held(connection: Monitored) -> None:
    gevent.sleep(0.2)
    end = time.monotonic() + SOON
    while not held():
        assert time.monotonic() < end
    first, seconds = held()[0], held()[0].seconds
    while first.seconds == seconds:
        assert time.monotonic() < end
    assert held() == [first]


def test_a_hub_that_turns_or_waits_is_not_noted(connection: Monitored) -> None:
    def is_quiet() -> bool:
        flight_recorder.clear()
        end = time.monotonic() + HOLD
        while time.monotonic() < end:
            sum(range(1000))
            gevent.sleep(0)
        gevent.sleep(HOLD)
        return not held()

    assert any(is_quiet() for _ in range(5)), "on a busy machine a turn may take long"


def test_a_hub_that_nobody_needs_is_not_noted(connection: Monitored) -> None:
    connection.is_needed = False
    sleep(HOLD)
    gevent.sleep(0.1)
    assert not held()
