"""Heartbeats of 2 seconds, and a handler that computes for 10: the connections stay."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from tests.faults.account import Keep, judge
from tests.faults.computing import Computes, compute
from tests.faults.exam import examined
from tests.faults.fault import EMBEDDED, RABBITMQ, UNHARMED
from tests.faults.load import Shape
from tests.faults.scene import Scene

SECONDS = 10.0
PATIENT = Shape(publish_timeout=20.0, rpc_timeout=20.0, max_retry=0)
"""No limit ends while the hub is held: nobody could have kept it."""
RUNS = [
    pytest.param("rabbitmq", 1, marks=pytest.mark.slow),
    *(pytest.param("rabbitmq", run, marks=pytest.mark.soak) for run in range(2, 21)),
    *(pytest.param("embedded", run, marks=pytest.mark.soak) for run in range(1, 4)),
]


def accused(records: list[logging.LogRecord]) -> list[str]:
    """Return the lines of the log that name the handler."""
    lines = [record.getMessage() for record in records if record.levelno >= logging.WARNING]
    return [line for line in lines if Computes.__name__ in line]


@pytest.mark.limit(90)
@pytest.mark.parametrize(("kind", "run"), RUNS)
def test_the_connections_stay_and_the_handler_is_named(
    kind: str, run: int, scene: Scene, keep: Keep, caplog: Any
) -> None:
    account = examined(scene, f"computing for {SECONDS:.0f} s, {run} ({kind})", compute, PATIENT)
    keep(account)

    judge(account, UNHARMED)
    assert scene.proxy.accepted == 2, "no connection was lost"
    assert account.lateness > SECONDS - 1.0, "the hub was held indeed"
    (line,) = accused(caplog.records)
    assert Computes.compute.__qualname__ in line
    assert f"{compute.__code__.co_filename}:" in line


@pytest.mark.soak
@pytest.mark.limit(90)
@pytest.mark.parametrize("kind", RABBITMQ + EMBEDDED)
def test_without_the_guard_the_connections_are_lost(kind: str, scene: Scene, monkeypatch) -> None:
    """The control: it is the guard that keeps them."""
    from postage.green.amqp import transport

    monkeypatch.setattr(transport.guard, "watch", lambda *_: None)
    examined(scene, "computing without the guard", compute)
    assert scene.proxy.accepted > 2
