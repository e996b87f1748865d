"""The load without a fault, and that each kind of damage is found."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import gevent
import gevent.event
import pytest

from postage.testing.polling import wait_until
from tests.faults.fault_env import FaultEnv, on_embedded
from tests.faults.fault_run import run_with_fault
from tests.faults.journal import Journal
from tests.faults.load import Load, LoadProcessor, LoadSettings, outcome_of
from tests.faults.report import ANSWERED, HARMLESS, WRONG, Limits, check, violations
from tests.support.measures import memory, resident

SMALL = LoadSettings(publishers=5, callers=5, processors=4, pause=0.02, recovery_timeout=2.0)


@pytest.fixture
def env() -> Iterator[FaultEnv]:
    with on_embedded() as opened:
        yield opened


def nothing(_scene: FaultEnv, _load: Load) -> None:
    """Cause no fault."""


def run_small(env: FaultEnv, injection: Any = nothing) -> Journal:
    return run_with_fault(env, "a test of the load", injection, SMALL)


def test_without_a_fault_there_are_no_violations(env: FaultEnv) -> None:
    report = run_small(env)
    check(report, replace(HARMLESS, recovery=1.0))
    assert report.sent == report.confirmed == report.handled >= 5 * 3
    assert report.calls[ANSWERED] >= 5 * 3


def test_messages_that_vanish_are_counted_as_lost(env: FaultEnv, monkeypatch: Any) -> None:
    def forgets(self: LoadProcessor, content: Any) -> None:
        publisher, number = content["parameters"]
        if number != 1:
            self._journal.handle(publisher, number, self.name)

    monkeypatch.setattr(LoadProcessor.note, "__code__", forgets.__code__)
    report = run_small(env)
    assert report.lost == 5
    assert "5 confirmed messages are lost" in violations(report, Limits())


def test_a_processor_that_ends_is_found(env: FaultEnv) -> None:
    report = run_small(env, lambda _, load: load.processors[0].stop_consuming())
    assert any("ended by itself" in error for error in report.unexpected)


def test_an_extra_socket_is_found(env: FaultEnv) -> None:
    with socket.create_connection(("127.0.0.1", env.proxy.port)):
        report = run_small(env)
    assert "3 sockets" in violations(report, Limits())


def test_an_extra_greenlet_is_found(env: FaultEnv) -> None:
    event = gevent.event.Event()
    left: list[gevent.Greenlet] = []

    report = run_small(env, lambda *_: left.append(gevent.spawn(event.wait)))

    event.set()
    assert report.greenlets == (repr(left[0]),)


def test_memory_that_stays_is_found(env: FaultEnv) -> None:
    held: list[Any] = []
    report = run_small(env, lambda *_: held.append(resident(int(memory() / 5))))
    assert report.growth > 0.1


def test_a_blocked_hub_is_measured(env: FaultEnv) -> None:
    report = run_small(env, lambda *_: time.sleep(0.3))
    assert 0.2 < report.lateness < 1.0


def test_waits_are_measured_against_their_limits(env: FaultEnv) -> None:
    """The proxy is so slow that every publish and call exceeds its limit."""
    settings = replace(
        SMALL, publish_timeout=0.4, rpc_timeout=0.2, max_retry=1, recovery_timeout=5.0
    )

    def slow(env: FaultEnv, load: Load) -> None:
        env.proxy.slow(delay=1.0)
        wait_until(lambda: len(load.journal.failures) >= 10, 10)
        env.proxy.slow()

    report = run_with_fault(env, "slow", slow, settings)
    assert report.refused >= 5
    assert report.calls["TimeoutError"] >= 5
    assert -0.1 < report.overdue < 0.5
    assert report.lost == 0


@pytest.mark.parametrize(
    ("content", "outcome"),
    [
        ({"type": "success", "value": [1, 2]}, ANSWERED),
        ({"type": "success", "value": [1, 3]}, WRONG),
        ({"type": "exception", "value": "TimeoutError"}, "TimeoutError"),
        ({"type": "error", "value": None, "message": "Malformed"}, "Malformed"),
    ],
)
def test_the_outcome_of_a_call(content: dict[str, Any], outcome: str) -> None:
    assert outcome_of(content, [1, 2]) == outcome
