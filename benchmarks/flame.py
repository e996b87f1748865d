"""A picture, in SVG, of the time of each function with all that it calls."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from html import escape

from benchmarks.plot import text

Stacks = Mapping[tuple[str, ...], int]
"""How often each stack was seen; the outermost function is first."""
Panel = tuple[str, Stacks, float]
"""A title, the stacks, and the microseconds of all of them."""

WIDTH, LINE, TITLE = 1200, 16, 30
LEAST = 0.004
"""A function is drawn if it takes at least this part of the width."""
LETTER = 6.2
"""The width of a letter, about."""
COLOURS = {"postage/": "#9ecae1", "benchmarks/": "#e0e0e0", "gevent/": "#c7e9c0"}
OTHER = "#fdd0a2"


def flame(panels: Sequence[Panel]) -> str:
    """Return the panels, one below the other; a caller is drawn above its callees."""
    parts, top = [], 0
    for panel in panels:
        drawn = list(_boxes(panel))
        parts += [f'<g transform="translate(0 {top})">', *drawn, "</g>"]
        top += TITLE + LINE * (1 + max(map(len, panel[1]), default=0))
    style = 'font-family="sans-serif" font-size="11"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{top}" {style}>'
    ground = '<rect width="100%" height="100%" fill="white"/>'
    return "\n".join([head, ground, *parts, "</svg>", ""])


def _boxes(panel: Panel) -> Iterator[str]:
    title, stacks, whole = panel
    yield text(4, 20, f"{title}, {whole:.1f} µs", 'font-weight="bold"')
    scale = WIDTH / max(1, sum(stacks.values()))
    for place, depth, function, seen in nested(stacks):
        if seen * scale >= LEAST * WIDTH:
            cost = f"{seen * scale / WIDTH * whole:.1f} µs"
            yield from _box(place * scale, TITLE + depth * LINE, seen * scale, function, cost)


def nested(stacks: Stacks) -> Iterator[tuple[int, int, str, int]]:
    """Yield each function in its place: after how many samples, how deep, its name, how many."""
    yield from _nested(sorted(stacks.items()), 0, 0)


def _nested(
    stacks: Sequence[tuple[tuple[str, ...], int]], place: int, depth: int
) -> Iterator[tuple[int, int, str, int]]:
    seen: Counter[str] = Counter()
    below: dict[str, list[tuple[tuple[str, ...], int]]] = {}
    for stack, times in stacks:
        if len(stack) > depth:
            seen[stack[depth]] += times
            below.setdefault(stack[depth], []).append((stack, times))
    for function, times in seen.items():
        yield place, depth, function, times
        yield from _nested(below[function], place, depth + 1)
        place += times


def _box(x: float, y: float, width: float, function: str, cost: str) -> Iterator[str]:
    name, _, file = function.rpartition(" (")
    colour = next((its for part, its in COLOURS.items() if part in file), OTHER)
    yield f"<g><title>{escape(function)}: {cost}</title>"
    yield (
        f'<rect x="{x:.1f}" y="{y:.0f}" width="{width:.1f}" height="{LINE - 1}"'
        f' fill="{colour}" stroke="white"/>'
    )
    room = int((width - 4) / LETTER)
    if room > 2:  # noqa: PLR2004 - less says nothing
        yield text(x + 2, y + 11, name if len(name) <= room else name[: room - 1] + "…")
    yield "</g>"
