"""A picture of series: the cost of each item by the number of items, on logarithmic scales."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.plot import text
from benchmarks.series import Series

WIDTH, LEFT, PLOT, HEIGHT = 760, 60, 400, 300
"""The widths of the picture, of the space left of a plot, and of a plot; the height of a plot."""
TITLE, FOOT, LINE = 40, 44, 18
"""The heights of the title above a plot, of the foot below it, and of a line of the legend."""
COLOURS = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e", "#8c564b", "#17becf", "#555555")
DASHES = ("", "6 3", "2 2")
"""The dashes of the first lines, of the next ones, and so on, for readers who see no colours."""


@dataclass(frozen=True)
class Axis:
    """A scale of powers of ten: *low* to *high* on *length* pixels."""

    low: int
    high: int
    length: float

    @classmethod
    def of(cls, values: Sequence[float], length: float) -> Axis:
        """Return an axis for *values*, from one power of ten to another."""
        low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
        return cls(low, max(high, low + 1), length)

    def at(self, value: float) -> float:
        """Return the distance of *value* from the start of the axis, in pixels."""
        return (math.log10(value) - self.low) / (self.high - self.low) * self.length

    @property
    def powers(self) -> list[float]:
        """The powers of ten on it."""
        return [10.0**power for power in range(self.low, self.high + 1)]


def lines(families: Mapping[str, tuple[str, Sequence[Series]]]) -> str:
    """Return a picture with a plot for each of *families*: its title, its unit, and its lines."""
    parts, top = [], 0
    for title, (counted, series) in families.items():
        drawn = [each for each in series if any(point.cpu > 0 for point in each.points)]
        parts += [f'<g transform="translate(0 {top})">', *_plot(title, counted, drawn), "</g>"]
        top += TITLE + HEIGHT + FOOT
    style = 'font-family="sans-serif" font-size="12"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{top + 10}" {style}>'
    ground = '<rect width="100%" height="100%" fill="white"/>'
    return "\n".join([head, ground, *parts, "</svg>", ""])


def _plot(title: str, counted: str, series: Sequence[Series]) -> Iterator[str]:
    points = [point for each in series for point in each.points if point.cpu > 0]
    across = Axis.of([point.count for point in points], PLOT)
    up = Axis.of([point.each for point in points], HEIGHT)
    yield text(8, 24, f"{title}: CPU time of each (µs); level is linear", 'font-weight="bold"')
    yield f'<g transform="translate({LEFT} {TITLE})">'
    yield from _grid(across, up)
    yield text(PLOT / 2, HEIGHT + 36, counted, 'text-anchor="middle"')
    for number, each in enumerate(series):
        yield from _line(number, each, across, up)
    yield "</g>"


def _grid(across: Axis, up: Axis) -> Iterator[str]:
    for power in across.powers:
        x = across.at(power)
        yield f'<path d="M{x:.1f} 0V{HEIGHT}" stroke="#dddddd"/>'
        yield text(x, HEIGHT + 16, f"{power:,.0f}", 'text-anchor="middle"')
    for power in up.powers:
        y = HEIGHT - up.at(power)
        yield f'<path d="M0 {y:.1f}H{PLOT}" stroke="#dddddd"/>'
        yield text(-6, y + 4, f"{power:,g}", 'text-anchor="end"')


def _line(number: int, series: Series, across: Axis, up: Axis) -> Iterator[str]:
    dashes = DASHES[number // len(COLOURS) % len(DASHES)]
    pen = f'stroke="{COLOURS[number % len(COLOURS)]}" stroke-dasharray="{dashes}"'
    places = [
        f"{across.at(point.count):.1f},{HEIGHT - up.at(point.each):.1f}"
        for point in series.points
        if point.cpu > 0
    ]
    yield f'<polyline points="{" ".join(places)}" fill="none" stroke-width="2" {pen}/>'
    middle = LINE * number + LINE / 2
    yield f'<path d="M{PLOT + 16} {middle:.0f}h24" stroke-width="2" {pen}/>'
    yield text(PLOT + 46, middle + 4, series.title)
