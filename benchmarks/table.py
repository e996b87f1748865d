"""Medians over rounds, as a table in markdown."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from benchmarks.measure import Figures

HEADINGS = ("", "per second", "p50 ms", "p99 ms", "CPU µs", "server CPU µs")


def median(rounds: Sequence[Figures]) -> Figures:
    """Return the median of each figure; None where the rounds have none."""
    columns = {
        name: [figures.as_dict()[name] for figures in rounds] for name in rounds[0].as_dict()
    }
    medians = {name: statistics.median(c) for name, c in columns.items() if None not in c}
    return Figures(**medians)


def cells(figures: Figures) -> list[str]:
    """Return the figures as text."""
    values = figures.as_dict()
    rate = f"{values.pop('rate'):,.0f}"
    return [rate, *("-" if value is None else f"{value:.1f}" for value in values.values())]


def table(results: dict[str, list[Figures]]) -> str:
    """Return one line for each key of *results*, with the medians of its rounds."""
    rows = [[title, *cells(median(rounds))] for title, rounds in results.items()]
    rule = ["---", *("---:" for _ in HEADINGS[1:])]
    return "\n".join(f"| {' | '.join(row)} |" for row in (HEADINGS, rule, *rows))
