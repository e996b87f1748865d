"""Two hostile peers beside a load, for seconds; ``make hostile`` does the same for minutes."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.faults.fault_env import FaultEnv
from tests.faults.hostile import LOG_LIMIT, MEMORY_LIMIT, Part, faults, run_hostile, slowness
from tests.faults.load import LoadSettings

SMALL = LoadSettings(publishers=5, callers=20, processors=10, pause=0.05)
SECONDS = 1.0
ATTACKS = 15
"""How many messages and connections each peer makes at least, also on a busy machine."""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["embedded", "rabbitmq"])
def test_hostile_peers_cost_no_call_no_message_no_memory(env: FaultEnv, tmp_path: Path) -> None:
    parts, wrong = run_hostile(env, SECONDS, SMALL, tmp_path / "log")

    assert wrong == []
    for part in parts[1:]:
        assert [part.counts[peer]["messages"] > ATTACKS for peer in part.counts] == [True, True]


def three_parts(**hostile: Any) -> list[Part]:
    usual = {"waits": [0.01] * 100, "memory": {"load": [1000, 1000]}, "seconds": 1.0}
    return [
        Part("alone", **usual),
        Part("hostile", **{**usual, **hostile}),
        Part("harmless", **usual),
    ]


@pytest.mark.parametrize(
    ("hostile", "text"),
    [
        ({"unanswered": 3}, "hostile: 3 calls were not answered"),
        (
            {"memory": {"load": [1000, 2000 + MEMORY_LIMIT, 1000]}},
            "hostile: the load needed 537 MB",
        ),
        ({"logged": LOG_LIMIT + 1}, f"{LOG_LIMIT + 1} bytes were logged"),
    ],
    ids=["unanswered", "memory", "log"],
)
def test_what_is_wrong_with_the_figures_is_found(hostile: dict[str, Any], text: str) -> None:
    (found,) = faults(three_parts(**hostile))
    assert found.startswith(text)


def test_good_figures_have_no_faults() -> None:
    parts = three_parts(logged=LOG_LIMIT, waits=[0.01] * 99 + [7.0])
    assert [*faults(parts), *slowness(parts)] == []


def test_calls_that_hostility_slows_down_are_found() -> None:
    (found,) = slowness(three_parts(waits=[0.01] * 98 + [0.05] * 2))
    assert found == "p99 is 50.0 ms; beside harmless peers 10.0 ms"


def test_the_line_of_a_part_has_rates_and_percentiles() -> None:
    counts = {"client": Counter(messages=50), "rude peer": Counter(messages=6)}
    part = Part("x", [0.001] * 99 + [0.5], seconds=2.0, counts=counts, memory={"load": [1, 4]})
    assert part.row()[:8] == ["x", "25", "3", "100", "0", "1.0", "1.0", "500.0"]
