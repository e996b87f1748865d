"""Results as a picture: bars in SVG, written by hand.

matplotlib would be a dependency of 40 MB for a few rectangles, and its files change as a whole when
one figure changes; these lines can be read in a diff.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape

from benchmarks.contest import Result
from benchmarks.contestants import LIMIT, OURS
from benchmarks.medians import median, span
from benchmarks.table import HEADINGS, written
from benchmarks.workloads import Workload

WIDTH, LABELS, BARS = 760, 230, 400
"""The widths of the picture, of the names at its left, and of the longest bar."""
LINE, BAR, TITLE = 20, 14, 34
"""The heights of a contestant's line, of its bar, and of a workload's title."""
COLOURS = {OURS: "#1f77b4", LIMIT: "#555555"}
OTHER = "#c7c7c7"


def plot(outcome: Mapping[Workload, Sequence[Result]]) -> str:
    """Return a picture of all workloads, one below the other, each with a scale of its own."""
    parts, top = [], 0
    for workload, results in outcome.items():
        ran = [one for one in results if one.rounds]
        parts += [f'<g transform="translate(0 {top})">', *_bars(workload, ran), "</g>"]
        top += TITLE + LINE * len(ran)
    style = 'font-family="sans-serif" font-size="12"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{top + 10}" {style}>'
    ground = '<rect width="100%" height="100%" fill="white"/>'
    return "\n".join([head, ground, *parts, "</svg>", ""])


def _bars(workload: Workload, results: Sequence[Result]) -> Iterator[str]:
    name = workload.key
    longest = max((most for _, most in _spans(results, name)), default=1.0)
    yield text(8, 24, f"{workload.title} ({HEADINGS[name]})", 'font-weight="bold"')
    for number, result in enumerate(results):
        middle = TITLE + LINE * number + BAR / 2
        yield from _bar(result, name, middle, BARS / longest)


def _spans(results: Iterable[Result], name: str) -> Iterator[tuple[float, float]]:
    return (found for one in results if (found := span(one.rounds, name)) is not None)


def _bar(result: Result, name: str, middle: float, scale: float) -> Iterator[str]:
    value, (least, most) = median(result.rounds, name) or 0.0, span(result.rounds, name) or (0, 0)
    colour = COLOURS.get(result.contestant.name, OTHER)
    yield text(LABELS - 8, middle + 4, result.contestant.title, 'text-anchor="end"')
    yield (
        f'<rect x="{LABELS}" y="{middle - BAR / 2:.0f}" width="{value * scale:.1f}"'
        f' height="{BAR}" fill="{colour}"/>'
    )
    start, end = (f"{LABELS + each * scale:.1f}" for each in (least, most))
    yield f'<path d="M{start} {middle:.0f}H{end}" stroke="black"/>'
    yield text(LABELS + most * scale + 6, middle + 4, written(name, value))


def text(x: float, y: float, words: str, more: str = "") -> str:
    """Return *words* at a place, the baseline at *y*."""
    return f'<text x="{x:.0f}" y="{y:.0f}" {more}>{escape(words)}</text>'
