"""Clocks of a process: its processor time, or the instructions that it executes.

Instructions are far steadier: waiting, other processes and a slower machine add none.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from benchmarks.actor import Actor

STEADY = (
    *("PYTHONHASHSEED=0", "POSTAGE_LATE_AFTER=60", "POSTAGE_DISCOVERY=0"),
    "PYTHONDONTWRITEBYTECODE=",
)
"""valgrind runs at a fiftieth of the speed.  So sets have the same order each time, the hub monitor
keeps quiet, no station opens in the midst of a count, which it does once for each process, and
modules are not compiled again."""


class Clock(Protocol):
    """The clock of one process; files that it needs go to *folder*."""

    name: str
    unit: str
    operations: int
    """How many operations of a kind are enough."""
    rounds: int
    """How many rounds are needed."""
    at_once: int
    """How many processes may work at the same time."""

    def __init__(self, folder: Path) -> None: ...

    def command(self, words: Sequence[str]) -> list[str]:
        """Return the command that runs the program *words* so that the clock can be read."""

    def read(self, actor: Actor, mark: int) -> float:
        """Return the clock at the last report of *actor*, which is number *mark*."""


class Instructions:
    """Counted by valgrind's callgrind up to a mark, which is a call of ``getppid``.

    `benchmarks.tally.report` calls that, and nothing else does.
    """

    name, unit = "instructions", "instructions"
    operations, rounds, at_once = 200, 1, 2

    def __init__(self, folder: Path) -> None:
        self._dump = folder / "callgrind"
        self._read, self._sum = 0, 0

    def command(self, words: Sequence[str]) -> list[str]:
        """Return the command that runs the program *words* under valgrind."""
        tool = ["valgrind", "--quiet", "--tool=callgrind", "--dump-before=getppid"]
        return ["env", *STEADY, *tool, f"--callgrind-out-file={self._dump}", *words]

    def read(self, actor: Actor, mark: int) -> float:  # noqa: ARG002 - as in Clock
        """Return the sum of the counts before the mark."""
        for number in range(self._read + 1, mark + 1):
            self._sum += total(self._dump.with_suffix(f".{number}").read_text())
        self._read = mark
        return self._sum


class CpuTime:
    """CPU time of all threads, system calls included; exact only on a quiet machine."""

    name, unit = "CPU time", "µs"
    operations, rounds, at_once = 3_000, 5, 1

    def __init__(self, folder: Path) -> None:
        """Ignore *folder*."""

    def command(self, words: Sequence[str]) -> list[str]:
        """Return *words*."""
        return list(words)

    def read(self, actor: Actor, mark: int) -> float:  # noqa: ARG002 - as in Clock
        """Return the microseconds that *actor* has reported."""
        return actor.cpu * 1e6


def best() -> type[Instructions | CpuTime]:
    """Return the steadiest clock that this machine has."""
    return Instructions if shutil.which("valgrind") else CpuTime


def total(text: str) -> int:
    """Return the sum in callgrind's output; raise `ValueError` if there is none."""
    for line in reversed(text.splitlines()):
        name, _, value = line.partition(":")
        if name == "totals":
            return int(value)
    raise ValueError("callgrind has written no sum")
