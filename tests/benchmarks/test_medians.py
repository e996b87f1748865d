"""Medians, ranges and ratios, and how they are written."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks.contest import Result
from benchmarks.contestants import CONTESTANTS, LIMIT, OURS
from benchmarks.measure import Figures
from benchmarks.medians import best_peer, median, ratio, span, the_limit
from benchmarks.table import table
from benchmarks.workloads import WORKLOADS

RPC, START = WORKLOADS["rpc"], WORKLOADS["start"]
NO_CALLS = CONTESTANTS["dramatiq"].lacks["rpc"]


def result(name: str, *rates: float) -> Result:
    rounds = [Figures(rate=rate, seconds=1 / rate, client=2 * rate) for rate in rates]
    return Result(CONTESTANTS[name], rounds)


OURS_, SLOW, FAST = result(OURS, 400, 300, 500), result("kombu", 50), result("amqpstorm", 200, 100)
C = result(LIMIT, 800)
ABSENT = Result(CONTESTANTS["dramatiq"], problem=NO_CALLS)
ALL = [OURS_, SLOW, FAST, ABSENT, C]


def test_the_middle_round_counts_and_the_outer_ones_are_told():
    assert median(OURS_.rounds, "rate") == 400
    assert span(OURS_.rounds, "rate") == (300, 500)


def test_what_no_round_has_is_none():
    assert median(OURS_.rounds, "server") is None
    assert span([], "rate") is None


@pytest.mark.parametrize("workload", [RPC, START])
def test_the_best_peer_is_neither_ours_nor_the_limit(workload):
    assert best_peer(workload, ALL) is FAST
    assert best_peer(workload, [OURS_, ABSENT, C]) is None


def test_the_limit_is_what_c_reached_if_it_took_part():
    assert the_limit(ALL) is C
    assert the_limit([OURS_, Result(C.contestant, problem="not built")]) is None


@pytest.mark.parametrize(("workload", "times"), [(RPC, 400 / 150), (START, 0.0075 / 0.0025)])
def test_more_calls_and_less_time_are_better(workload, times):
    assert ratio(workload, OURS_, FAST) == pytest.approx(times)
    assert ratio(workload, OURS_, None) is None
    assert ratio(workload, OURS_, ABSENT) is None


def test_a_table_has_a_line_for_each_and_says_why_one_is_empty():
    lines = table(RPC, ALL).splitlines()
    assert lines[0].startswith("|  | per second | min-max | x best peer | x C | p50 ms |")
    assert lines[2].startswith("| Postage | 400 | 300-500 | 2.67 | 0.50 |  |  | 800.0 |")
    assert lines[5].startswith(f"| dramatiq: {NO_CALLS} |")
    assert {line.count("|") for line in lines} == {lines[0].count("|")}


def test_what_a_contestant_lacks_is_no_failure():
    assert (ABSENT.lacking, ABSENT.failed) == (True, False)
    broken = replace(FAST, problem="its process ended with exit code 1")
    assert (broken.lacking, broken.failed) == (False, True)
