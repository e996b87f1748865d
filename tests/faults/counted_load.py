"""A load that the workers of ``postage run --workers --health`` handle, and their counts.

Its messages are those of `tests.faults.kills`: handlers fail, are tried again at once or later, and
give up, so messages are parked.  Some calls fail, too.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

from postage.testing.polling import wait_until
from tests.faults.ledger import Ledger, is_kept
from tests.faults.load import Load, LoadSettings, outcome_of
from tests.faults.report import ANSWERED
from tests.support.metrics_pages import free_run
from tests.support.programs import Program
from tests.support.waiting import wait_until_steady

WORKERS = 4
SETTINGS = LoadSettings(publishers=8, callers=8, processors=0, pause=0.05, publish_timeout=2.0)
MOST = 1_000_000
"""The sender and the number of a message are one number: so many times the sender is added."""
CALLERS = 1_000
"""The number of the first caller."""
NUMBER = "x-number"
SOON = 30.0


class CountedLoad(Load):
    """Sends messages of these *kinds* and makes calls; processes with a ledger handle both.

    It has ended when nothing is missing, and no line was written for *calm* seconds, which are more
    than the longest delay.
    """

    def __init__(self, title: str, kinds: Sequence[str], folder: Path, calm: float) -> None:
        super().__init__(title, SETTINGS)
        self._calm = calm
        self.ledger = Ledger(folder)
        self.answered: set[int] = set()
        """The calls that were answered, as they should be."""
        self._kinds, self._folder = kinds, folder

    @contextmanager
    def at_work(self) -> Iterator[tuple[Program, int]]:
        """Start workers and the load; yield the program, and the port of the first worker."""
        port = free_run(WORKERS)
        options = "--workers", str(WORKERS), "--health", str(port)
        target = "tests.faults.programs.counted_worker:CountedWorker"
        env = {"LEDGER": str(self._folder), "ENDPOINT": self.endpoint.queue}
        with (
            mock.patch.dict("os.environ", env),
            Program("-m", "postage", "run", target, *options) as program,
        ):
            wait_until(lambda: started(program) == WORKERS, SOON, "all workers run")
            try:
                self.start()
                yield program, port
            finally:
                self.kill()

    def _send(self, producer: Any, publisher: int, number: int) -> None:
        key = publisher * MOST + number
        kind, headers = random.Random(key).choice(self._kinds), {NUMBER: key}
        if kind == "malformed":
            producer.forward("no message", _headers=headers)
        else:
            producer.send(kind, key, _headers=headers)

    def _ask(self, producer: Any, caller: int, turn: int) -> str:
        key = (CALLERS + caller) * MOST + turn
        name = "echo" if turn % 4 else "wrong"
        outcome = outcome_of(producer.call(name, key, _headers={NUMBER: key}).body["content"], key)
        if outcome == "KeyError" and name == "wrong":
            outcome = ANSWERED
        if outcome == ANSWERED:
            self.answered.add(key)
        return outcome

    def finish(self) -> int:
        """Stop the senders, and wait until all has ended; return how many senders hung."""
        before = self.journal.successes.copy()
        wait_until(lambda: self.all_succeeded(5, before), SOON, "each sender has succeeded again")
        unfinished = self.stop_senders()
        wait_until(lambda: not self.missing(), SOON, "each message is handled or parked")
        wait_until_steady(lambda: self.missing() or self.ledger.sizes(), self._calm, SOON)
        return unfinished

    def lines_of(self, pid: int) -> int:
        """Return how many lines the process *pid* has written."""
        self.missing()
        return len(self.ledger.lines[pid])

    def missing(self) -> int:
        """Note all new ends of the ledger; return how many confirmed messages have none so far."""
        for line in self.ledger.read():
            sender, number = divmod(line["number"], MOST)
            is_parked = is_kept(line) and line["delay"] is None
            if sender < CALLERS and (line.get("is_done") or is_parked):
                self.journal.handle(sender, number, "a worker")
        return len(self.journal.missing())


def started(program: Program) -> int:
    """Return how many workers have begun to handle messages, those that were killed included."""
    return program.stderr.count("Running 1 component")


def pids(program: Program) -> dict[int, int]:
    """Return the processes of the workers, by their numbers."""
    found = re.findall(r"Worker (\d+) is process (\d+)", program.stderr)
    return {int(number): int(pid) for number, pid in found}  # the last one of each number
