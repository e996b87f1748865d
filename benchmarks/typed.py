"""Calls with types: a typed service of Postage beside its classic API, FastStream and nameko.

Everyone calls ``reserve(item: str, count: int)``, and gets an object with these two fields back.
"""

from __future__ import annotations

from benchmarks.contest import Result, available, compete
from benchmarks.contestants import TYPED_CONTESTANTS
from benchmarks.medians import median, span
from benchmarks.rounds import Round
from benchmarks.table import HEADINGS, markdown, settings, written
from benchmarks.workloads import CALLING, WORKLOADS, Workload

CALLS = (WORKLOADS["rpc"], WORKLOADS["rpc100"])
FIGURES = tuple(each for each in CALLING if each != "p50")


def compare(each: Round, rounds: int) -> str:
    """Return a table with a line for each contestant and number of callers, measured in turns."""
    contestants = list(TYPED_CONTESTANTS.values())
    head = ["", HEADINGS["rate"], "min-max", *(HEADINGS[name] for name in FIGURES[1:])]
    rows = [
        _row(workload, result)
        for workload in CALLS
        for result in compete(each, workload, contestants, rounds)
    ]
    return f"{markdown([head, *rows])}\n\n{settings(contestants, available(contestants))}"


def _row(workload: Workload, result: Result) -> list[str]:
    callers = "1 caller" if workload.callers == 1 else f"{workload.callers} callers"
    title = f"{result.contestant.title}, {callers}"
    if not result.rounds:
        return [f"{title}: {result.problem}"]
    key, *rest = FIGURES
    outer = "-".join(written(key, value) for value in span(result.rounds, key) or ())
    medians = [written(name, median(result.rounds, name)) for name in rest]
    return [title, written(key, median(result.rounds, key)), outer, *medians]
