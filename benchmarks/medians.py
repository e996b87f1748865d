"""Medians, ranges and ratios over rounds."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence

from benchmarks.contest import Result
from benchmarks.contestants import LIMIT, OURS
from benchmarks.measure import Figures
from benchmarks.workloads import Workload


def values(rounds: Iterable[Figures], name: str) -> list[float]:
    """Return the figure *name* of each of *rounds* that has it."""
    return [value for one in rounds if (value := getattr(one, name)) is not None]


def median(rounds: Iterable[Figures], name: str) -> float | None:
    """Return the median of the figure *name*; None if no round has it."""
    found = values(rounds, name)
    return statistics.median(found) if found else None


def best_peer(workload: Workload, results: Iterable[Result]) -> Result | None:
    """Return the best result except Postage's and C's; None if there is none."""
    peers = [one for one in results if one.rounds and one.contestant.name not in {OURS, LIMIT}]
    choose = max if workload.more_is_better else min
    return choose(peers, key=lambda one: median(one.rounds, workload.key) or 0.0, default=None)


def the_limit(results: Iterable[Result]) -> Result | None:
    """Return the result of C; None if it did not take part."""
    return next((one for one in results if one.rounds and one.contestant.name == LIMIT), None)


def ratio(workload: Workload, one: Result, other: Result | None) -> float | None:
    """Return how many times as good *one* is as *other*; above 1 is better."""
    ours, theirs = (
        None if each is None else median(each.rounds, workload.key) for each in (one, other)
    )
    if not ours or not theirs:
        return None
    return ours / theirs if workload.more_is_better else theirs / ours


def span(rounds: Sequence[Figures], name: str) -> tuple[float, float] | None:
    """Return the least and the greatest figure *name*; None if no round has it."""
    found = values(rounds, name)
    return (min(found), max(found)) if found else None
