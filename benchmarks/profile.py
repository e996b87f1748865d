"""Profiles of Postage: the client and the server are sampled while they work.

py-spy reads their stacks from outside, 250 times a second, and knows greenlets as well as threads.
It has an environment of its own, as the contestants have.
"""

from __future__ import annotations

import subprocess
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.actor import Actor, Failed
from benchmarks.contestants import CONTESTANTS, OURS
from benchmarks.environments import environment, made
from benchmarks.flame import Panel, Stacks
from benchmarks.measure import Meter
from benchmarks.rounds import Play, Round
from benchmarks.table import markdown
from benchmarks.workloads import Workload

RATE = 250
"""Samples per second."""
ATTACHING = 0.7
"""Seconds until py-spy samples."""
LEAST_COUNT = 100_000
"""The least number of consumed messages, because they are consumed before py-spy samples, too."""
IDLE = ("HubMonitor._run", "gevent/_threading.py")
"""Native threads that wait, but that py-spy counts as working."""
LEAST = 0.02
"""A function is listed if it takes at least this part of the time."""


class Sampled(Play):
    """A round whose processes are sampled in the measured part."""

    def __init__(self, each: Round, workload: Workload, folder: Path) -> None:
        super().__init__(each, workload, CONTESTANTS[OURS], made(CONTESTANTS[OURS]))
        self._seconds = each.seconds
        self._folder, self._spies = folder, dict[str, subprocess.Popen[bytes]]()

    def _meter(self, client: Actor, server: Actor | None = None) -> Meter:
        self._spy("client", client)
        if server is not None:
            self._spy("server", server)
        time.sleep(ATTACHING)
        return super()._meter(client, server)

    def _spy(self, name: str, actor: Actor) -> None:
        spy = Path(environment(["py-spy"])).with_name("py-spy")
        seconds = str(int(self._seconds + ATTACHING + 1))
        how = ["-r", str(RATE), "-d", seconds, "-f", "raw", "-o", str(self._folder / name)]
        command = [str(spy), "record", "--pid", str(actor.pid), *how]
        quiet = subprocess.DEVNULL
        self._spies[name] = subprocess.Popen(command, stdout=quiet, stderr=quiet)

    def stacks(self) -> dict[str, Counter[tuple[str, ...]]]:
        """Return how often each stack was seen, by process, once all samples are written."""
        for spy in self._spies.values():
            spy.wait(self._seconds + 30)
        return {name: self._counted(name) for name in self._spies}

    def _counted(self, name: str) -> Counter[tuple[str, ...]]:
        samples = self._folder / name
        if not samples.exists():
            raise Failed(f"the {name} had ended before it could be sampled; give it more to do")
        return counted(samples.read_text())


def counted(text: str) -> Counter[tuple[str, ...]]:
    """Return the stacks in py-spy's *text*, outermost function first, and how often each was."""
    seen: Counter[tuple[str, ...]] = Counter()
    for line in text.splitlines():
        stack, _, times = line.rpartition(" ")
        if not any(one in line for one in IDLE):
            seen[tuple(named(frame) for frame in stack.split(";"))] += int(times)
    return seen


def named(frame: str) -> str:
    """Return the function and the file of *frame*, ``function (path:line)``, without the line."""
    function, _, place = frame.rpartition(" (")
    return f"{function} ({place.rpartition(':')[0]})"


def costs(stacks: Stacks, whole: float) -> Iterator[tuple[str, float, float]]:
    """Yield each function with its parts of *whole*: including its callees, and by itself."""
    inside: Counter[str] = Counter()
    itself: Counter[str] = Counter()
    for stack, times in stacks.items():
        itself[stack[-1]] += times
        inside.update(dict.fromkeys(stack, times))
    total = sum(stacks.values())
    for function, times in inside.most_common():
        if times >= LEAST * total:
            yield function, times / total * whole, itself[function] / total * whole


def profile(each: Round, workload: Workload) -> list[Panel]:
    """Return the stacks of each process, and the microseconds of an operation in it."""
    longer = replace(each, count=max(each.count, LEAST_COUNT))
    with TemporaryDirectory() as folder:
        play = Sampled(longer, workload, Path(folder))
        figures = play.figures()
        stacks = play.stacks()
    return [
        (f"{workload.title}: {name}", one, getattr(figures, name)) for name, one in stacks.items()
    ]


def profiles(panels: Sequence[Panel]) -> str:
    """Return a table for each process: microseconds of an operation by function."""
    return "\n\n".join(f"### {title}\n\n{_table(stacks, us)}" for title, stacks, us in panels)


def _table(stacks: Stacks, whole: float) -> str:
    rows = [[name, f"{all_:.1f}", f"{own:.1f}"] for name, all_, own in costs(stacks, whole)]
    return markdown([[f"of {whole:.1f} µs", "µs", "by itself"], *rows])
