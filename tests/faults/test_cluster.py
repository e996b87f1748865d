"""Three nodes, quorum queues, and the leader's node is killed under load."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from tests.faults.account import Keep, Limits, judge
from tests.faults.cluster import ClusterScene, cluster, on_cluster
from tests.faults.exam import examined
from tests.faults.load import Load, Shape

pytestmark = [pytest.mark.slow, pytest.mark.soak]

QUORUM = Shape(arguments={"x-queue-type": "quorum"}, publish_timeout=30.0)
PATIENT = Limits(again=30.0)


@pytest.fixture(scope="module")
def scene(request: pytest.FixtureRequest) -> Iterator[ClusterScene]:
    with cluster() as members, on_cluster(members) as opened:
        yield opened


def leader_killed(scene: ClusterScene, load: Load) -> None:
    """Kill the node where the queue of messages has its leader; it stays away."""
    leader = scene.leader_of(load.notes)
    sys.stdout.write(f"the leader is {leader!r}\n")
    leader.kill()


@pytest.mark.limit(180)
@pytest.mark.needs_rabbitmq("cluster")
def test_the_loss_of_the_leader_loses_no_message(scene: ClusterScene, keep: Keep) -> None:
    account = examined(scene, "leader of a cluster killed", leader_killed, QUORUM, patience=40.0)
    keep(account)
    judge(account, PATIENT)
