"""A run's outcome as one text: markdown, or JSON with every round."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.contest import Result
from benchmarks.contestants import Contestant
from benchmarks.table import settings, table
from benchmarks.workloads import Workload

BEGIN, END = "<!-- begin of python -m benchmarks {} -->", "<!-- end of python -m benchmarks {} -->"
"""The lines of a file between these two are replaced."""


@dataclass(frozen=True)
class Outcome:
    """The outcome of a run."""

    conditions: Mapping[str, str]
    versions: dict[str, str]
    contestants: Sequence[Contestant]
    results: Mapping[Workload, Sequence[Result]]

    @property
    def failed(self) -> bool:
        """Whether any round failed."""
        return any(one.failed for results in self.results.values() for one in results)

    def as_markdown(self) -> str:
        """Return a table for each workload, then the contestants and the conditions."""
        parts = [
            f"### {workload.title}\n\n{table(workload, results)}"
            for workload, results in self.results.items()
        ]
        parts.append(f"### Who took part\n\n{settings(self.contestants, self.versions)}")
        parts.append("\n".join(f"- {name}: {text}" for name, text in self.conditions.items()))
        return "\n\n".join(parts)

    def as_json(self) -> str:
        """Return every figure of every round."""
        results = {
            workload.name: {
                one.contestant.name: {
                    "problem": one.problem,
                    "rounds": [figures.as_dict() for figures in one.rounds],
                }
                for one in results
            }
            for workload, results in self.results.items()
        }
        whole = {**self.conditions, "versions": self.versions, "results": results}
        return json.dumps(whole, indent=1)


def written_into(path: Path, what: str, text: str) -> None:
    """Replace the lines between the two marks of *what* in the file at *path* by *text*."""
    begin, end = BEGIN.format(what), END.format(what)
    before, found, rest = path.read_text().partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise ValueError(f"{path} has no lines {begin} and {end}")
    path.write_text(f"{before}{begin}\n\n{text}\n\n{end}{after}")
