"""Heartbeats of 2 seconds, and a handler that computes for 10: the connections stay."""

from __future__ import annotations

import logging
import time
from typing import Any

import pytest

from postage import messaging
from postage.testing.polling import wait_until
from tests.faults.catalogue import BOTH
from tests.faults.fault_env import FaultEnv
from tests.faults.fault_run import run_with_fault
from tests.faults.load import Load, LoadSettings
from tests.faults.report import HARMLESS, check
from tests.support.running import running

SECONDS = 10.0
PATIENT = LoadSettings(publish_timeout=20.0, rpc_timeout=20.0, max_retry=0)
"""No limit ends while the hub is blocked, as no limit could be kept then."""
RUNS = [
    pytest.param("rabbitmq", 1, marks=pytest.mark.slow),
    *(pytest.param("rabbitmq", run, marks=pytest.mark.soak) for run in range(2, 21)),
    *(pytest.param("embedded", run, marks=pytest.mark.soak) for run in range(1, 4)),
]


class Computes(messaging.MessageProcessor):
    """Blocks the hub for as many seconds as a message says."""

    finished = 0

    @messaging.MessageHandler("command", "compute")
    def compute(self, content: Any) -> None:
        end = time.monotonic() + content["parameters"]
        while time.monotonic() < end:
            pass
        self.finished += 1


def compute(_env: FaultEnv, load: Load) -> None:
    """Let a handler of the process compute."""
    eqk = load.endpoint.at((load.endpoint.sub("compute"), "compute"))
    computes = Computes({"name": "computes"}, eqk)
    with running(computes):
        load.endpoint.producer(eks=[(load.endpoint.exchange, "compute")]).message_compute(SECONDS)
        wait_until(lambda: computes.finished == 1, SECONDS + 10.0, "it has computed")


def reported(records: list[logging.LogRecord]) -> list[str]:
    """Return the lines of the log that name the handler."""
    lines = [record.getMessage() for record in records if record.levelno >= logging.WARNING]
    return [line for line in lines if Computes.__name__ in line]


@pytest.mark.limit(90)
@pytest.mark.parametrize(("kind", "run"), RUNS)
def test_the_connections_stay_and_the_handler_is_named(
    kind: str, run: int, env: FaultEnv, record: Any, caplog: Any
) -> None:
    report = run_with_fault(env, f"computing for {SECONDS:.0f} s, {run} ({kind})", compute, PATIENT)
    record(report)

    check(report, HARMLESS)
    assert env.proxy.accepted == 2, "no connection was lost"
    assert report.lateness > SECONDS - 1.0, "the hub was blocked"
    (line,) = reported(caplog.records)
    assert Computes.compute.__qualname__ in line
    assert f"{Computes.compute.__code__.co_filename}:" in line


@pytest.mark.soak
@pytest.mark.limit(90)
@pytest.mark.parametrize("kind", BOTH)
def test_without_the_monitor_connections_are_lost(kind: str, env: FaultEnv, monkeypatch) -> None:
    """The control: the hub monitor keeps them alive."""
    from postage.green.amqp import transport

    monkeypatch.setattr(transport.hub_monitor, "add", lambda *_: None)
    run_with_fault(env, "computing without the monitor", compute)
    assert env.proxy.accepted > 2
