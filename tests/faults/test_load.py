"""The load itself, where nothing goes wrong; and that it does find what goes wrong."""

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
from tests.faults.account import Account, Limits, findings, judge
from tests.faults.exam import examined
from tests.faults.load import ANSWERED, WRONG, Load, Shape, Worker, outcome_of
from tests.faults.measures import memory
from tests.faults.scene import Scene, on_embedded
from tests.support.resident import resident

SMALL = Shape(publishers=5, callers=5, processors=4, pause=0.02)


@pytest.fixture
def scene() -> Iterator[Scene]:
    with on_embedded() as opened:
        yield opened


def nothing(_scene: Scene, _load: Load) -> None:
    """All goes well."""


def examine(scene: Scene, strike: Any = nothing) -> Account:
    return examined(scene, "a test of the load", strike, SMALL, patience=2.0)


def test_without_trouble_there_is_nothing_to_find(scene: Scene) -> None:
    account = examine(scene)
    quiet = Limits(duplicates=0, refused=0, outcomes=frozenset({ANSWERED}), again=1.0)
    judge(account, quiet)
    assert account.sent == account.confirmed == account.handled >= 5 * 3
    assert account.calls[ANSWERED] >= 5 * 3


def test_messages_that_vanish_are_lost(scene: Scene, monkeypatch: Any) -> None:
    def forgets(self: Worker, content: Any) -> None:
        publisher, number = content["parameters"]
        if number != 1:
            self._ledger.handle(publisher, number, self.name)

    monkeypatch.setattr(Worker.note, "__code__", forgets.__code__)
    account = examine(scene)
    assert account.lost == 5
    assert "5 confirmed messages are lost" in findings(account, Limits())


def test_a_processor_that_ends_is_found(scene: Scene) -> None:
    account = examine(scene, lambda _, load: load.processors[0].stop_consuming())
    assert any("ended by itself" in surprise for surprise in account.surprises)


def test_a_socket_too_many_is_found(scene: Scene) -> None:
    with socket.create_connection(("127.0.0.1", scene.proxy.port)):
        account = examine(scene)
    assert "3 sockets" in findings(account, Limits())


def test_a_greenlet_too_many_is_found(scene: Scene) -> None:
    event = gevent.event.Event()
    left: list[gevent.Greenlet] = []

    account = examine(scene, lambda *_: left.append(gevent.spawn(event.wait)))

    event.set()
    assert account.greenlets == (repr(left[0]),)


def test_memory_that_stays_is_found(scene: Scene) -> None:
    held: list[Any] = []
    account = examine(scene, lambda *_: held.append(resident(int(memory() / 5))))
    assert account.growth > 0.1


def test_a_hub_that_is_held_is_seen(scene: Scene) -> None:
    account = examine(scene, lambda *_: time.sleep(0.3))
    assert 0.2 < account.lateness < 1.0


def test_waits_are_measured_against_their_limits(scene: Scene) -> None:
    """The proxy is so slow that every limit is over; only then is there anything to measure."""
    shape = replace(SMALL, publish_timeout=0.4, rpc_timeout=0.2, max_retry=1)

    def slow(scene: Scene, load: Load) -> None:
        scene.proxy.slow(delay=1.0)
        wait_until(lambda: len(load.ledger.failures) >= 10, 10)
        scene.proxy.slow()

    account = examined(scene, "slow", slow, shape, patience=5.0)
    assert account.refused >= 5
    assert account.calls["TimeoutError"] >= 5
    assert -0.1 < account.overdue < 0.5
    assert account.lost == 0


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
