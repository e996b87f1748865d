"""Three nodes and quorum queues; two nodes are killed under load, one after the other."""

from __future__ import annotations

from typing import Any

import pytest

from tests.faults.cluster import PATIENT, on_cluster, run_kills
from tests.faults.report import check

pytestmark = [pytest.mark.slow, pytest.mark.soak]


@pytest.mark.limit(300)
@pytest.mark.needs_rabbitmq("cluster")
@pytest.mark.usefixtures("_postage_chosen")
def test_the_death_of_a_node_loses_no_message(record: Any) -> None:
    """First the node of the leader dies, then the one that our consumers are connected to."""
    with on_cluster() as env:
        journal = run_kills(env, 2)
    record(journal)
    check(journal, PATIENT)
