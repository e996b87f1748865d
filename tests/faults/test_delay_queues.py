"""Many processors share few delay queues."""

from __future__ import annotations

from typing import Any

import pytest

from postage import Retry
from tests.faults.delay_queues import MOST, Late, run_processors
from tests.faults.fault_env import on_embedded


@pytest.mark.slow
def test_processors_share_delay_queues(monkeypatch: Any) -> None:
    monkeypatch.setattr(Late, "retry", Retry(delays=(0.2, 0.4, 0.6, 0.8)))
    with on_embedded(direct=True) as env:
        found = run_processors(env, 100)
    assert 4 <= len(found) <= MOST
