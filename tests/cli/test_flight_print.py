"""A process of ``postage run`` prints its flight record at SIGUSR1."""

from __future__ import annotations

import signal

import pytest

from postage.testing.polling import wait_until
from tests.cli.support import SOON, running

pytestmark = pytest.mark.usefixtures("broker_env")


def test_each_worker_prints_its_record_and_goes_on() -> None:
    with running("run", "fleet:Echo", "--workers", "2") as program:
        wait_until(lambda: program.stderr.count("Running 1 component") == 2, SOON)
        program.popen.send_signal(signal.SIGUSR1)
        wait_until(lambda: program.stderr.count("Flight record of process") == 2, SOON)
        wait_until(lambda: program.stderr.count("runs now: ") == 2, SOON)
        assert program.terminate(SOON).code == 0


def test_workers_that_are_still_starting_print_theirs_later() -> None:
    with running("run", "fleet:Echo", "--workers", "2") as program:
        program.wait_for_line("Worker 1 is process")
        program.popen.send_signal(signal.SIGUSR1)
        wait_until(lambda: program.stderr.count("Flight record of process") == 2, SOON)
        wait_until(lambda: program.stderr.count("Running 1 component") == 2, SOON)
        assert program.stderr.count("is process") == 2, "none was started again"
        assert program.terminate(SOON).code == 0


def test_a_crash_logs_what_came_before() -> None:
    with running("run", "fragile:both") as program:
        ended = program.wait(SOON)
    assert ended.code == 6
    assert "Traceback" in ended.stderr
