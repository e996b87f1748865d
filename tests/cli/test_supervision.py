"""``postage run`` with a component that crashes."""

from __future__ import annotations

import os
import signal
import sys

import pytest

from postage.testing.polling import wait_until
from tests.cli.support import PROGRAMS, SOON, children, running
from tests.support.programs import ROOT, Program

pytestmark = pytest.mark.usefixtures("broker_env")


def test_it_ends_with_code_6_when_it_gives_up_on_a_component():
    with running("run", "fragile:both") as program:
        ended = program.wait(SOON)

    assert ended.code == 6
    assert ended.stderr.count("has crashed; it is started again in") == 2
    assert ended.stderr.count("ZeroDivisionError: a crash") == 3
    *_, last = ended.stderr.splitlines()
    assert last.startswith("GaveUp: Fragile 'None' was started again 2 times within 60 s")


def test_a_worker_that_a_nameless_signal_ends_is_restarted():
    with running("run", "fleet:Echo", "--workers", "1") as program:
        program.wait_for_line("Running 1 component", SOON)
        (pid,) = children(program.pid)
        number = signal.SIGRTMIN + 1
        os.kill(pid, number)
        text = f"Worker 0 has ended by signal {number} and is started again."
        program.wait_for_line(text, SOON)
        wait_until(lambda: program.stderr.count("Running 1 component") == 2, SOON)

        assert program.terminate(SOON).code == 0


def test_a_worker_that_cannot_be_started_is_tried_again(tmp_path):
    python = tmp_path / "python"
    python.symlink_to(sys.executable)
    words = [str(python), "-m", "postage", "run", "fleet:Echo", "--workers", "1"]
    path = os.pathsep.join([str(ROOT), *filter(None, sys.path)])
    start = f"import os; os.execve({words[0]!r}, {words}, os.environ | {{'PYTHONPATH': {path!r}}})"
    with Program("-c", start, cwd=PROGRAMS) as program:
        program.wait_for_line("Running 1 component", SOON)
        python.unlink()
        (pid,) = children(program.pid)
        os.kill(pid, signal.SIGKILL)
        text = "Worker 0 cannot be started (No such file or directory); trying again."
        program.wait_for_line(text, SOON)
        python.symlink_to(sys.executable)
        wait_until(lambda: program.stderr.count("Running 1 component") == 2, SOON)

        assert program.terminate(SOON).code == 0
