"""A whole run: every workload, with the contestants in turn, in several rounds."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from benchmarks.actor import Failed
from benchmarks.contestants import Contestant
from benchmarks.environments import Unavailable, versions
from benchmarks.measure import Figures
from benchmarks.rounds import Round
from benchmarks.workloads import Workload

PROBLEMS = (Failed, Unavailable, TimeoutError, AssertionError, subprocess.SubprocessError)


@dataclass
class Result:
    """The figures of one contestant in one workload."""

    contestant: Contestant
    rounds: list[Figures] = field(default_factory=list)
    problem: str | None = None
    """Why figures are missing."""

    @property
    def lacking(self) -> bool:
        """Whether the contestant cannot do this, and says so."""
        return not self.rounds and self.problem in self.contestant.lacks.values()

    @property
    def failed(self) -> bool:
        """Whether a round failed that should have worked."""
        return self.problem is not None and not self.lacking


def compete(
    each: Round, workload: Workload, contestants: Iterable[Contestant], rounds: int
) -> list[Result]:
    """Return the figures of every round: A B C, A B C, so that all share bad moments."""
    results = [Result(one, problem=one.lacks.get(workload.name)) for one in contestants]
    for number in range(1, rounds + 1):
        for result in results:
            if result.problem is None:
                _one_round(each, workload, result)
                print(
                    f"{workload.title}, round {number}: {_last(workload, result)}", file=sys.stderr
                )
    return results


def _one_round(each: Round, workload: Workload, result: Result) -> None:
    try:
        result.rounds.append(each.run(workload, result.contestant))
    except PROBLEMS as problem:
        result.problem = str(problem) or repr(problem)


def _last(workload: Workload, result: Result) -> str:
    if result.problem is not None:
        return f"{result.contestant.title}: {result.problem}"
    value = getattr(result.rounds[-1], workload.key)
    said = f"{value:,.0f}/s" if workload.more_is_better else f"{value:.3f} s"
    return f"{result.contestant.title}: {said}"


def available(contestants: Sequence[Contestant]) -> dict[str, str]:
    """Return the versions of each contestant's packages, or why it is unavailable."""
    return {one.name: _version(one) for one in contestants}


def _version(contestant: Contestant) -> str:
    try:
        return versions(contestant)
    except Unavailable as why:
        return str(why)
