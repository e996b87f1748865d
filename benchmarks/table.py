"""Results as tables in markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from benchmarks.contest import Result
from benchmarks.contestants import Contestant
from benchmarks.medians import best_peer, median, ratio, span, the_limit
from benchmarks.workloads import Workload

HEADINGS = {
    "rate": "per second",
    "seconds": "seconds",
    "p50": "p50 ms",
    "p99": "p99 ms",
    "client": "client µs",
    "server": "server µs",
    "broker": "broker µs",
    "memory": "MB",
}
FORMATS = {"rate": ",.0f", "seconds": ".3f", "p50": ".2f", "p99": ".2f"}
"""The formats of figures; other figures have one digit after the point."""


def table(workload: Workload, results: Sequence[Result]) -> str:
    """Return a line for each of *results*: the medians, and the range of the first figure."""
    others = [best_peer(workload, results), the_limit(results)]
    headings = [HEADINGS[name] for name in workload.columns]
    head = ["", headings[0], "min-max", "x best peer", "x C", *headings[1:]]
    return markdown([head, *(_row(workload, result, others) for result in results)])


def _row(workload: Workload, result: Result, others: Sequence[Result | None]) -> list[str]:
    if not result.rounds:
        return [f"{result.contestant.title}: {result.problem}"]
    key, *rest = workload.columns
    least_and_most = span(result.rounds, key) or ()
    return [
        result.contestant.title,
        written(key, median(result.rounds, key)),
        "-".join(written(key, value) for value in least_and_most),
        *(_times(ratio(workload, result, other)) for other in others),
        *(written(name, median(result.rounds, name)) for name in rest),
    ]


def _times(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def written(name: str, value: float | None) -> str:
    """Return the figure *name* as text."""
    return "" if value is None else format(value, FORMATS.get(name, ".1f"))


def settings(contestants: Iterable[Contestant], versions: dict[str, str]) -> str:
    """Return a table of the *contestants*: their versions and settings."""
    rows = [[one.title, versions[one.name], one.settings] for one in contestants]
    return markdown([["", "versions", "settings"], *rows], aligned=False)


def markdown(rows: Sequence[Sequence[str]], *, aligned: bool = True) -> str:
    """Return *rows*, the first being the headings, as a table; numbers are *aligned* right."""
    width = len(rows[0])
    rule = ["---", *["---:" if aligned else "---"] * (width - 1)]
    filled = [[*row, *[""] * (width - len(row))] for row in (rows[0], rule, *rows[1:])]
    return "\n".join(f"| {' | '.join(row)} |" for row in filled)
