"""The command ``restart``, to a program that many others call and write to at the time."""

from __future__ import annotations

import itertools
import json
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gevent
import gevent.event
import pytest

from postage.testing.polling import wait_until
from tests.support.endpoints import Endpoint
from tests.support.programs import Program
from tests.support.running import SOON
from tests.support.stopwatch import Stopwatch

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("broker_env")]

SCRIPT = "tests/green/programs/restarting.py"
PROCESSORS, CALLERS, WRITERS = 20, 50, 20
LONGEST = 5.0
"""Seconds that a call may take while the program is replaced."""


class Traffic:
    """Calls and messages, to all processors in turn, until `over`."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self.over = gevent.event.Event()
        self.right, self.wrong = 0, Counter[str]()
        self.longest = 0.0
        self.sent: list[str] = []
        self._greenlets = [gevent.spawn(self._call, number) for number in range(CALLERS)]
        self._greenlets += [gevent.spawn(self._write, number) for number in range(WRITERS)]

    def _turns(self, number: int) -> Iterator[tuple[int, str]]:
        for turn in itertools.count():
            if self.over.wait(0.02):
                return
            yield turn, str((number + turn) % PROCESSORS)

    def _call(self, number: int) -> None:
        producer = self._endpoint.producer(rpc_timeout=30, max_retry=4)  # as they are by default
        for turn, key in self._turns(number):
            watch = Stopwatch()
            answer = producer.rpc_double(turn, _key=key)
            self.longest = max(self.longest, watch.own)
            if answer and answer.value == 2 * turn:
                self.right += 1
            else:
                self.wrong[repr(answer.body["content"])] += 1

    def _write(self, number: int) -> None:
        producer = self._endpoint.producer()
        for turn, key in self._turns(number):
            producer.message_note(f"{number}.{turn}", _key=key)
            self.sent.append(f"{number}.{turn}")

    def go_on(self, count: int) -> None:
        """Wait for so many more right answers."""
        wanted = self.right + count
        wait_until(lambda: self.right >= wanted, SOON, f"{count} more answers")

    def end(self) -> None:
        """Have all come to their end, and raise what has ended one before."""
        self.over.set()
        gevent.joinall(self._greenlets, timeout=2 * SOON, raise_error=True)
        assert all(each.dead for each in self._greenlets)


@pytest.mark.behaviour("quit-and-restart")
@pytest.mark.limit(90)
def test_a_restart_under_load_fails_no_call_and_loses_no_message(
    endpoint: Endpoint, tmp_path: Path
):
    notes = tmp_path / "notes"
    arguments = ("-B", SCRIPT, endpoint.queue, str(PROCESSORS), str(notes))
    with Program(*arguments, env=os.environ | {"RESTARTING": "yes"}) as program:
        first = run_of(program, 1)
        traffic = Traffic(endpoint)
        for run in (2, 3):
            traffic.go_on(500)
            endpoint.producer().message_restart(_key=str(run))
            told = run_of(program, run)
            assert told["inherited"] == first["inherited"]
            assert told["started"] > first["started"]
        traffic.go_on(500)
        traffic.end()
        sent = set(traffic.sent)
        wait_until(lambda: set(notes.read_text().splitlines()) >= sent, SOON, "all is handled")
        assert "Traceback" not in program.stderr

    assert not traffic.wrong
    assert traffic.longest < LONGEST


def run_of(program: Program, number: int) -> dict[str, Any]:
    """Return what the *number*-th run of the program, counted from 1, says of itself."""

    def lines() -> list[str]:
        return [line for line in program.stdout.splitlines() if line.startswith("runs ")]

    wait_until(lambda: len(lines()) >= number, SOON, f"run {number}")
    told: dict[str, Any] = json.loads(lines()[number - 1].removeprefix("runs "))
    return told
