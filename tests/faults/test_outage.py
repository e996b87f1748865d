"""A dependency that is away for a short time, and a kill switch: the long run is a program."""

from __future__ import annotations

import pytest

from tests.faults.fault_env import on_embedded
from tests.faults.outage import OutagePlan, run_outage


@pytest.mark.parametrize("after", [0, 300])
def test_an_outage_costs_few_tries_and_parks_nothing(after: int) -> None:
    with on_embedded(direct=True):
        assert run_outage(OutagePlan(seconds=0.4, messages=1000, after=after)) == []
