"""Check whether Postage has become slower, compared with plain pika and a recorded ratio.

Postage and pika's GeventConnection do the same work, each in one process, with an embedded broker
in another process.  The ratio of their costs is compared with the ratio in gate.json.  So is the
ratio of a typed service to the classic API.  Costs are instructions, or CPU time if valgrind is not
installed.  Exit code 1: a ratio is 15 % worse.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median

from benchmarks.clocks import Clock, CpuTime, best
from benchmarks.contestants import OURS
from benchmarks.parts import PARTS, TYPED_PARTS, Costs, costs
from benchmarks.ratios import BETTER, WORSE, Records, versions
from benchmarks.table import markdown

THEIRS = "gevent_connection"
PAIRS = ((OURS, THEIRS, PARTS), ("typed_postage", "classic_postage", TYPED_PARTS))
"""Who is compared with whom, and in what."""
FILE = Path(__file__).with_name("gate.json")


def compared(kind: type[Clock]) -> Comparison:
    """Measure both of each pair in turn, or at once if the clock allows it."""
    turns = [(one, parts) for *pair, parts in PAIRS for one in pair] * kind.rounds
    with ThreadPoolExecutor(kind.at_once) as pool:
        told = list(pool.map(lambda turn: costs(turn[0], kind, turn[1]), turns))
    rounds = [told[at : at + 2 * len(PAIRS)] for at in range(0, len(told), 2 * len(PAIRS))]
    ours, theirs = ([_united(one[side::2]) for one in rounds] for side in (0, 1))
    return Comparison(kind.unit, ours, theirs)


def _united(told: Sequence[Costs]) -> Costs:
    return {title: cost for each in told for title, cost in each.items()}


class Comparison:
    """The costs of Postage (*ours*) and of pika or the classic API (*theirs*) in each round."""

    def __init__(self, unit: str, ours: Sequence[Costs], theirs: Sequence[Costs]) -> None:
        self.unit, self.ours, self.theirs = unit, ours, theirs
        self.ratios = {title: median(self.each(title)) for title in ours[0]}

    def each(self, title: str) -> list[float]:
        """Return the ratio in each round."""
        return [
            ours[title] / theirs[title] for ours, theirs in zip(self.ours, self.theirs, strict=True)
        ]

    def table(self, records: Records) -> str:
        """Return a line for each part: medians, the ratio, what was recorded, the verdict."""
        head = ["", f"Postage, {self.unit}", f"compared with, {self.unit}", "ratio", "recorded", ""]
        return markdown([head, *(self._row(title, records) for title in self.ratios)])

    def _row(self, title: str, records: Records) -> list[str]:
        ratio, recorded = self.ratios[title], records.ratios.get(title)
        sides = (median(one[title] for one in side) for side in (self.ours, self.theirs))
        numbers = [f"{value:,.0f}" for value in sides]
        known = "" if recorded is None else f"{recorded:.3f}"
        return [title, *numbers, f"{ratio:.3f}", known, records.verdict(title, ratio)]


def judged(comparison: Comparison, records: Records) -> tuple[str, bool]:
    """Return the text to print, and whether the gate fails."""
    said = {records.verdict(title, ratio) for title, ratio in comparison.ratios.items()}
    lines = [comparison.table(records), "", f"- measured with {versions()}"]
    if records.versions:
        lines.append(f"- recorded with {records.versions}")
    else:
        lines.append("- nothing of this kind is recorded for this Python: nothing is judged")
    if WORSE in said:
        lines.append("- FAILED: something takes 15 % more than recorded")
    elif BETTER in said:
        lines.append("- better than recorded: `make gate ARGS=--record` keeps it so")
    return "\n".join(lines), WORSE in said


def arguments(words: Sequence[str]) -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks gate", description=__doc__)
    parser.add_argument("--record", action="store_true", help="write the ratios to gate.json")
    parser.add_argument("--cpu", action="store_true", help="CPU time, also where valgrind is")
    return parser.parse_args(words)


def main(words: Sequence[str]) -> None:
    """Compare, print, and record or judge."""
    args = arguments(words)
    kind = CpuTime if args.cpu else best()
    records = Records(FILE, kind.name)
    comparison = compared(kind)
    text, failed = judged(comparison, records)
    print(text)
    if args.record:
        records.write(comparison.ratios)
    sys.exit(failed and not args.record)


if __name__ == "__main__":
    main(sys.argv[1:])
