"""Three nodes and quorum queues; the node of a leader is killed under load."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tests.faults.cluster import leader_of, on_cluster
from tests.faults.fault_env import FaultEnv
from tests.faults.fault_run import run_with_fault
from tests.faults.load import Load, LoadSettings
from tests.faults.report import Limits, check

pytestmark = [pytest.mark.slow, pytest.mark.soak]

# RabbitMQ 4.3 keeps what the consumers on a dead node held for 60 s, before others get it.
QUORUM = LoadSettings(
    arguments={"x-queue-type": "quorum"}, publish_timeout=30.0, recovery_timeout=90.0
)
PATIENT = Limits(recovery=30.0)


@pytest.fixture(scope="module")
def env(request: pytest.FixtureRequest) -> Iterator[FaultEnv]:
    with on_cluster() as env:
        yield env


def leader_killed(env: FaultEnv, load: Load) -> None:
    """Kill the node with the leader of the queue of messages; it does not come back."""
    leader = leader_of(env, load.notes)
    sys.stdout.write(f"the leader is {leader!r}\n")
    leader.kill()


@pytest.mark.limit(300)
@pytest.mark.needs_rabbitmq("cluster")
def test_the_loss_of_the_leader_loses_no_message(env: FaultEnv, record: Any) -> None:
    report = run_with_fault(env, "leader of a cluster killed", leader_killed, QUORUM)
    record(report)
    check(report, PATIENT)
